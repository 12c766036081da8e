"""The service over HTTP: its paths, what each may answer, and errors in one form."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

from anyio import sleep, to_thread
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facevoice.errors import ConfigError, FacevoiceError, MissingExtraError
from facevoice.interpret import decide_again
from facevoice.records import VERSION
from facevoice.report import FORMATS
from facevoice.service.answers import (
    Address,
    ErrorAnswer,
    Health,
    JobAnswer,
    JobList,
    Problem,
    job_answer,
)
from facevoice.service.database import DatabaseError
from facevoice.service.forms import MEDIA_TYPES, plain_name, write_form
from facevoice.service.jobs import Job, JobState
from facevoice.service.keys import User
from facevoice.service.limits import LOCAL_HOSTS
from facevoice.service.metrics import CONTENT_TYPE, Metrics
from facevoice.service.refusals import (
    BodyTooLargeError,
    ForbiddenError,
    InvalidRequestError,
    ServiceError,
    UnavailableError,
    UnexpectedError,
)
from facevoice.service.service import Service, too_large
from facevoice.settings import SENSITIVITIES, DecisionConfig

_LOG = logging.getLogger(__name__)

_DESCRIPTION: Final = """
Reads video and audio files and tells, window by window, which emotion the face shows, which the
voice has, and whether the two match or conflict, with calibrated probabilities.

Send a file or name an address: that makes a **job**. Ask how far it is, or follow its **windows**
as they come; when it is done, fetch its **report** in the form you like. Jobs are deleted when you
say so, and some time after they are done. Files are deleted as soon as they are analysed.

Every error is `{"error": {"kind", "message", "remedy"}}`.

It estimates what is *expressed*, not what anybody feels.
"""
_POLL_S: Final = 0.25
_KEEP_ALIVE_S: Final = 15.0
_LAST: Final = "end"
_ENDS: Final = (JobState.DONE, JobState.FAILED)
_MAX_ONCE: Final = 200
_MAX_BODY_BYTES: Final = 16_384
_FILE_PATH: Final = "/v1/jobs/file"
_METHODS: Final = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
# What pages by others may send without asking first.
_SIMPLE_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
_KINDS: Final = {404: "not_found", 405: "wrong_method"}
_PRIVATE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def build_app(service: Service) -> FastAPI:
    """The service as an ASGI application, which starts and ends it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await to_thread.run_sync(service.close)

    app = FastAPIOffline(
        title="facevoice",
        version=VERSION,
        description=_DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.service = service
    app.state.metrics = metrics = Metrics(service.jobs.count, service.tally)
    app.include_router(_open)
    app.include_router(_jobs)
    for kind in (FacevoiceError, RequestValidationError, HTTPException, ClientDisconnect):
        app.add_exception_handler(kind, _tell)
    app.add_exception_handler(Exception, _tell)
    app.add_middleware(_Watch, service=service, metrics=metrics)
    return app


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    told = {
        401: "`invalid_key`: no key, or an unknown one.",
        403: "`forbidden`: the key may not do that, or a page by others asks without a key.",
        404: "`not_found`: no such job of this key.",
        409: "`not_done`: the job has no report yet.",
        413: "`too_large`: more bytes than may be sent.",
        422: "`invalid_request`, or what is wrong with the address: `private_address` or "
        "`unreadable_media`.",
        429: "`too_many_jobs` or `too_many_requests`; `Retry-After` says when to try again.",
        500: "`internal`: nobody foresaw it; the service's log says more.",
        501: "`missing_extra`: the format needs a part that isn't installed.",
        503: "`unavailable`: the service ends, or its database can't be reached.",
        507: "`disk_full`: no room for the file.",
    }
    return {
        status: {"model": ErrorAnswer, "description": told[status]}
        for status in (*statuses, 422, 500, 503)
    }


_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key of this service; one without keys, on its own machine, needs none.",
)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _user(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> User:
    service = _service(request)
    user = service.keyring.find(None if credentials is None else credentials.credentials)
    service.pace.take(user)
    return user


_Asking = Annotated[User, Depends(_user)]
_Asked = Annotated[Service, Depends(_service)]
_Once = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=_MAX_ONCE,
        description="Any word of yours, new for each job: asked again with the same word, as after "
        "a connection that broke, you get the same job and no second one.",
    ),
]
_open = APIRouter(tags=["health"])
_jobs = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=_refusals(401, 403, 429))


@_open.get("/health/live", summary="Whether the process answers")
async def live() -> Health:
    """Needs no key, and asks for nothing but the process itself."""
    return Health(status="ok", version=VERSION)


@_open.get("/health/ready", summary="Whether jobs are taken", responses=_refusals(403))
def ready(service: _Asked) -> Health:
    """Needs no key: whether the database is there, and somebody works."""
    service.check_ready()
    return Health(status="ok", version=VERSION)


@_open.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **_refusals(401, 403, 429)},
)
def metrics(request: Request, service: _Asked, user: _Asking) -> Response:
    """Counts for all keys, so the key needs `may_read_metrics = true`."""
    if not (service.keyring.is_open or user.limits.may_read_metrics):
        remedy = "Give the key may_read_metrics = true in the file of keys."
        raise ForbiddenError("This key may not read metrics.", remedy)
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE)


@_jobs.post(
    "/file",
    status_code=202,
    summary="Send a file",
    responses=_refusals(413, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file itself, as it is.",
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in ("application/octet-stream", "video/*", "audio/*")
            },
        }
    },
)
async def send_file(
    request: Request,
    service: _Asked,
    user: _Asking,
    name: Annotated[
        str,
        Query(
            min_length=1,
            max_length=255,
            description="What reports call the file; with its ending.",
            examples=["talk.mp4"],
        ),
    ],
    once: _Once = None,
) -> JobAnswer:
    """Make a job of a video or audio file, which is sent as the body of the request.

    The file is deleted as soon as it is analysed.
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not kind or kind in _SIMPLE_TYPES:
        remedy = "Send the bytes of the file with Content-Type: application/octet-stream."
        raise InvalidRequestError("The body is not sent as a file.", remedy)
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > user.limits.max_bytes:
        raise too_large(user.limits.max_bytes)
    job, _ = await service.take_file(user, name, aiter(request.stream()), once)
    return job_answer(job)


@_jobs.post(
    "/address",
    status_code=202,
    summary="Name an address",
    responses=_refusals(413),
)
def send_address(service: _Asked, user: _Asking, body: Address, once: _Once = None) -> JobAnswer:
    """Make a job of a file on the public web, which the service fetches.

    Whether there is such a file shows when it is fetched: then the job fails, and says why.
    """
    job, _ = service.take_address(user, body.address, once)
    return job_answer(job)


@_jobs.get("", summary="List jobs", responses=_refusals(404))
def list_jobs(
    service: _Asked,
    user: _Asking,
    state: Annotated[JobState | None, Query(description="Those in this state only.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 100,
    before: Annotated[
        str | None,
        Query(description="Older ones than the job of this id, such as the last one of a list."),
    ] = None,
) -> JobList:
    """The jobs of this key, the newest first; nobody sees those of others."""
    jobs = service.jobs.listed(user.name, state, limit, before)
    return JobList(jobs=[job_answer(job) for job in jobs])


@_jobs.get("/{id}", summary="How far a job is", responses=_refusals(404))
def get_job(service: _Asked, user: _Asking, id: str) -> JobAnswer:
    """Ask every second or so, or follow its windows instead."""
    return job_answer(service.jobs.find(user.name, id))


@_jobs.delete("/{id}", status_code=204, summary="Delete a job", responses=_refusals(404))
def delete_job(service: _Asked, user: _Asking, id: str) -> None:
    """Delete its file, perception, windows and report; one that runs is stopped."""
    service.delete(user, id)


@_jobs.get(
    "/{id}/report",
    summary="The report of a job",
    response_class=Response,
    responses={
        200: {
            "description": "As the command `facevoice analyze --format` writes it; a format of "
            "several files comes as a zip.",
            "content": {
                kind: {"schema": {"type": "string"}}
                for kind in sorted({kind.partition(";")[0] for kind in MEDIA_TYPES.values()})
            },
        },
        **_refusals(404, 409, 501),
    },
)
def get_report(
    service: _Asked,
    user: _Asking,
    id: str,
    format: Annotated[
        str, Query(description=f"One of {', '.join(FORMATS)}.", examples=["json"])
    ] = "json",
    sensitivity: Annotated[
        str | None,
        Query(
            description="How readily match and conflict are called, in place of how it was asked "
            f"for: {', '.join(SENSITIVITIES)}, or the share of calls that shall be right."
        ),
    ] = None,
    expected_conflicts: Annotated[
        float | None,
        Query(
            ge=0.0001,
            le=0.9999,
            description="Share of windows that conflict where the file comes from.",
        ),
    ] = None,
) -> Response:
    """What face and voice show, window by window and moment by moment."""
    if format not in FORMATS:
        told = f"format: {format[:40]!r} is not known."
        raise InvalidRequestError(told, f"Choose one of {', '.join(FORMATS)}.")
    report = service.report(user, id)
    if sensitivity is not None or expected_conflicts is not None:
        decision = _decision(report.config.decision, sensitivity, expected_conflicts)
        report = decide_again(report, decision)
    form = write_form(report, format)
    headers = {
        **_PRIVATE,
        "Content-Disposition": _attached(form.name),
        "Content-Security-Policy": "sandbox allow-scripts",
    }
    return Response(form.content, media_type=form.media_type, headers=headers)


def _attached(name: str) -> str:
    """A header that offers a file under its name: in full, and for old clients in ASCII."""
    plain = plain_name(name)
    told = f'attachment; filename="{plain}"'
    return told if plain == name else f"{told}; filename*=UTF-8''{quote(name, safe='')}"


def _decision(
    before: DecisionConfig, sensitivity: str | None, expected_conflicts: float | None
) -> DecisionConfig:
    level: str | float | None = sensitivity
    try:
        level = None if sensitivity is None else float(sensitivity)
    except ValueError:
        level = sensitivity  # a word
    asked: dict[str, Any] = {}
    if level is not None:
        asked["sensitivity"] = level
    if expected_conflicts is not None:
        asked["expected_conflicts"] = expected_conflicts
    try:
        return replace(before, **asked)
    except ConfigError as error:
        raise InvalidRequestError(f"{error}.", "Ask for another value.") from error


@_jobs.get(
    "/{id}/windows",
    summary="The windows of a job, as they come",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events: `window` with a window as in `--format jsonl`, "
            "`job` whenever the job's state changes, at last when it has its report; `error` where "
            "it is deleted.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        204: {"description": "There is nothing more to come."},
        **_refusals(404),
    },
)
def get_windows(
    service: _Asked,
    user: _Asking,
    id: str,
    last: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="The last event that came, to go on behind it; browsers send it.",
        ),
    ] = None,
) -> Response:
    """Each window is compared with those before it; the report compares it with those after it too.

    The stream ends with the job. Windows that are done already come first.
    """
    job = service.jobs.find(user.name, id)
    if last == _LAST:
        return Response(status_code=204)
    after = int(last) if last is not None and last.isdecimal() and len(last) < 10 else -1
    held = ExitStack()
    return _Stream(_events(service, user, job, after, held), service.stream(user), held)


async def _events(
    service: Service, user: User, job: Job, last: int, held: ExitStack
) -> AsyncIterator[str]:
    """The events; `held` is closed before the last: who has heard that may ask again at once."""
    told, silent_s = None, 0.0
    while not service.stopping.is_set():
        try:
            # The job first: all windows of one that is finished are there.
            job = await to_thread.run_sync(service.jobs.find, user.name, job.id)
            windows = await to_thread.run_sync(service.jobs.windows, job.id, last)
        except FacevoiceError as error:
            held.close()
            yield _event("error", json.dumps(_problem(error)[1]), _LAST)
            return
        for number, line in windows:
            last, silent_s = number, 0.0
            yield _event("window", line, str(number))
        if windows:
            continue  # there may be more
        if job.state is not told:
            told = job.state
            if told in _ENDS:
                held.close()
            yield _event("job", job_answer(job).model_dump_json(), _LAST if told in _ENDS else None)
        if told in _ENDS:
            return
        if silent_s >= _KEEP_ALIVE_S:
            silent_s = 0.0
            yield ": still there\n\n"
        await sleep(_POLL_S)
        silent_s += _POLL_S


def _event(name: str, data: str, number: str | None = None) -> str:
    told = "" if number is None else f"id: {number}\n"
    return f"{told}event: {name}\ndata: {data}\n\n"


class _Watch:
    """Counts requests; where no keys are asked for, refuses those that a page by others makes."""

    def __init__(self, app: ASGIApp, service: Service, metrics: Metrics) -> None:
        self._app, self._service, self._metrics = app, service, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_s = time.monotonic()
        is_begun = False

        def count(status: int) -> None:
            # The route's own path, for those of jobs would be a series each; so would words that
            # strangers make up for methods.
            path = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.count(method, path, status, time.monotonic() - begun_s)

        async def note(message: Message) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                count(message["status"])
            await send(message)

        request = Request(scope)
        refusal = _foreign(request) if self._service.keyring.is_open else None
        if scope["path"] != _FILE_PATH:
            refusal = refusal or _lengthy(request)
        app = self._app if refusal is None else await _tell(request, refusal)
        try:
            await app(scope, receive, note)
        except Exception:
            if not is_begun:
                count(500)  # it is answered further out
            raise


class _Stream(StreamingResponse):
    """Holds a place until `held` is closed or it ends; without one, it is refused at first."""

    def __init__(
        self, events: AsyncIterator[str], place: AbstractContextManager[None], held: ExitStack
    ) -> None:
        headers = {**_PRIVATE, "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._place, self._held = place, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            self._held.enter_context(self._place)
            await super().__call__(scope, receive, send)


def _foreign(request: Request) -> ServiceError | None:
    """Browsers let any page ask this machine; they say which one, and by which name."""
    # As it came: of one that isn't a name, `request.url` says where this machine listens.
    host = request.headers.get("Host", "")
    try:
        asked = urlsplit(f"//{host}").hostname
    except ValueError:
        asked = None
    origin = request.headers.get("Origin")
    is_own = origin is None or origin == f"{request.url.scheme}://{host}"
    if asked in LOCAL_HOSTS and is_own:
        return None
    told = "A service without keys answers programs and pages of its own machine only."
    return ForbiddenError(told, "Use 127.0.0.1, or start it with keys.")


def _lengthy(request: Request) -> ServiceError | None:
    """Bodies are held in memory before anybody knows who sends them, but for files."""
    headers = request.headers
    length = headers.get("Content-Length", "0")
    if "Transfer-Encoding" in headers or not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
        told = f"The body is larger than {_MAX_BODY_BYTES} bytes, or doesn't say how large it is."
        return BodyTooLargeError(told, "Send less, with its Content-Length.")
    return None


async def _tell(request: Request, error: Exception) -> Response:
    """An error in its form; what nobody foresaw is logged, and not shown to strangers."""
    status, content = _problem(error)
    headers = {}
    if status >= 500 and not isinstance(error, ServiceError):
        _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    retry_s = getattr(error, "retry_s", None)
    if retry_s is not None:
        headers["Retry-After"] = str(max(1, round(retry_s)))
    return JSONResponse(content, status, {**_PRIVATE, **headers})


def _no_json() -> InvalidRequestError:
    remedy = "Send JSON with Content-Type: application/json; see /docs."
    return InvalidRequestError("The body is not the JSON object that is asked for.", remedy)


def _problem(error: Exception) -> tuple[int, dict[str, Any]]:
    """The status and the form of an error."""
    status = 422
    if isinstance(error, RequestValidationError):
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"][1:]))
        is_other = wrong["loc"] == ("body",) or wrong["type"] == "json_invalid"
        told = f"{where}: {wrong['msg']}."
        error = _no_json() if is_other else InvalidRequestError(told, "See /docs.")
    elif isinstance(error, HTTPException) and error.status_code == 400:  # of bodies alone
        error = _no_json()
    elif isinstance(error, HTTPException):
        kind = _KINDS.get(error.status_code, "invalid_request")
        known = Problem(kind=kind, message=f"{error.detail}.", remedy="See /docs.")
        return error.status_code, ErrorAnswer(error=known).model_dump()
    elif isinstance(error, DatabaseError):
        error = UnavailableError("The jobs can't be reached.", "Try again soon.", 5.0)
    elif not isinstance(error, FacevoiceError):
        told = "Something went wrong that nobody foresaw."
        error = UnexpectedError(told, "Tell who runs the service; its log says more.")
    if isinstance(error, ServiceError):
        status = error.status
    elif isinstance(error, MissingExtraError):
        status = 501
    remedy = str(getattr(error, "remedy", ""))
    message = str(error).removesuffix(f" {remedy}" if remedy else "")
    told_as = Problem(kind=error.kind, message=message, remedy=remedy)
    return status, ErrorAnswer(error=told_as).model_dump()
