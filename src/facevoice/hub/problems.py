"""What went wrong between here and the hub, told with the remedy and without secrets."""

from __future__ import annotations

import re
from typing import Final

from facevoice.errors import FacevoiceError

FEATURE: Final = "the model hub"
EXTRA: Final = "full"
TOKENS_PAGE: Final = "https://huggingface.co/settings/tokens"

_URL_QUERY: Final = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*")
_NOTHING_CHANGED: Final = "Nothing was changed there."
_BY_STATUS: Final[dict[int, str]] = {
    401: "the token is not accepted. Make one that may write at {tokens} and set {variable}, or "
    "run hf auth login.",
    402: "the owner's plan does not allow it. See the account's billing page.",
    403: "the token has no right to write there, or there is no such owner. Check the name, and "
    "give the token write access to it ({tokens}).",
    404: "no such owner, repository or branch, or the token may not see it. Check the name.",
    409: "the hub is busy with another change of this repository. Run again in a moment.",
    412: "somebody changed the branch in the meantime. Look at what is there, and run again.",
    413: "the hub finds a file too large.",
    429: "the hub has had too many requests of this account. Wait a few minutes and run again.",
}


class HubError(FacevoiceError):
    """Something could not be published; what the repository held before is still there."""


def http_error_type() -> type[Exception]:
    """Root of what the hub's HTTP library raises: another library in each major version."""
    from huggingface_hub import errors

    base: type[Exception] = errors.HfHubHTTPError.__mro__[1]
    return base


def explain_upload(error: BaseException, name: str, variable: str = "HF_TOKEN") -> HubError:
    """What an error of huggingface_hub means for an upload to `name`.

    variable: that the token was looked for in.
    """
    from huggingface_hub import errors

    # Uploads of large files run in threads, which wrap what happened.
    cause: BaseException | None = error
    expected = (http_error_type(), ConnectionError)
    while cause is not None and not isinstance(cause, expected):
        cause = cause.__cause__
    if isinstance(cause, errors.HfHubHTTPError) and cause.response is not None:
        status = cause.response.status_code
        words = _BY_STATUS.get(status)
        if isinstance(cause, errors.RepositoryNotFoundError):
            words = _BY_STATUS[404]
        if isinstance(cause, errors.RevisionNotFoundError):
            words = "no such branch. Name one that is there, or leave --create-pr out."
        if words is not None:
            words = words.format(tokens=TOKENS_PAGE, variable=variable)
        elif status >= 500:
            words = f"the hub failed ({status}). Run again later."
        else:
            words = f"the hub refused it ({status})."
        said = (cause.server_message or "").strip().splitlines()
        told = f" The hub says: “{without_secrets(said[0])}”." if said else ""
        return HubError(f"{name}: {words}{told} {_NOTHING_CHANGED}")
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return HubError(f"{name}: HF_HUB_OFFLINE forbids to ask the hub. Unset it and run again.")
    if cause is not None:
        return HubError(
            f"{name}: the hub can't be reached, or broke off ({without_secrets(str(cause))}). "
            "Check the connection and HF_ENDPOINT, and run again: a commit goes in whole or not "
            "at all, and files that arrived are not sent again."
        )
    plain = without_secrets(str(error))
    if isinstance(error, LookupError):
        plain = f"the hub's answer makes no sense ({plain} is missing). Check HF_ENDPOINT."
    return HubError(f"{name}: {plain} {_NOTHING_CHANGED}")


def explain_download(error: BaseException, name: str) -> str:
    """What an error of huggingface_hub means for a download of `name`."""
    from huggingface_hub import errors

    if isinstance(error, errors.HFValidationError):
        words = "is no name of a repository. Write OWNER/NAME."
    elif isinstance(error, errors.GatedRepoError):
        words = "access must be granted. Ask for it on the model's page, then run hf auth login."
    elif isinstance(error, errors.RevisionNotFoundError):
        words = "no such revision. Name a commit, branch, tag or refs/pr/N of this repository."
    elif isinstance(error, errors.RepositoryNotFoundError):
        words = "no such repository, or it is private. Check the name, or run hf auth login."
    elif isinstance(error, errors.LocalEntryNotFoundError):
        words = (
            "not in the cache, or not whole, and the hub can't be reached. Run once with a "
            "connection (and without HF_HUB_OFFLINE), or name a folder."
        )
    else:
        words = f"could not be fetched ({without_secrets(str(error))}). Run again."
    return f"{name}: {words}"


def without_secrets(text: str) -> str:
    """The text on one line, without the queries of addresses: those may be signed."""
    return _URL_QUERY.sub(r"\1", " ".join(text.split()))
