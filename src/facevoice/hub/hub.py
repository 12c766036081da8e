"""What went wrong between here and the hub, told with the remedy and without secrets."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from facevoice.backbones.compact import CompactFace, CompactVoice
from facevoice.backbones.huggingface import PRETRAINED
from facevoice.corpora.gather import corpus_names, create_corpus
from facevoice.errors import ConfigError, FacevoiceError, MissingExtraError, WeightsError
from facevoice.files import whole_folder
from facevoice.models.checkpoint import (
    CARD_FILE,
    HASHED_FILES,
    INDEX_FILE,
    WEIGHTS_FILE,
    CheckpointInfo,
    Figure,
    describe,
    load_checkpoint,
    read_files,
    read_info,
    read_tuned,
)
from facevoice.records import VERSION, Modality
from facevoice.settings import AnalyzerConfig

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer


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


# Under which licence a checkpoint may be published: the strictest of all that went into it.


class Term(StrEnum):
    """What a licence forbids or demands of what is made from the work; attribution is usual."""

    NON_COMMERCIAL = "non-commercial use only"
    SHARE_ALIKE = "to be shared under the same terms"
    NO_DERIVATIVES = "no derivatives"
    RESEARCH = "research use only"
    UNKNOWN = "terms not known"


@dataclass(frozen=True, slots=True)
class Source:
    """Something that went into the weights: a corpus, or a backbone, and its licence in words."""

    name: str
    license: str
    terms: frozenset[Term]


@dataclass(frozen=True, slots=True)
class License:
    """A licence as the hub names it.

    id: a name of the hub's list, "other" where none of them fits, None where nobody chose one;
    name: what "other" is.
    """

    id: str | None
    name: str | None = None


RESTRICTED: Final = License("other", "non-commercial-research-share-alike")
"""Where terms go beyond what a licence of the hub's list says."""

# Each pattern is looked for in the licence's words, lower case.
_PATTERNS: Final = (
    (Term.NON_COMMERCIAL, r"\bnc\b|non-?commercial"),
    (Term.SHARE_ALIKE, r"\bsa\b|share-?alike"),
    (Term.NO_DERIVATIVES, r"\bnd\b|no-?deriv"),
    (Term.RESEARCH, r"\bresearch\b|internal use|copyright of"),
)
_FREE: Final = re.compile(r"\b(mit|apache|bsd|odbl|odc|cc0|gpl|public domain|cc[ -]by)\b")
_UNRESTRICTED: Final = License(None)
_PACKAGE_BACKBONES: Final = {
    spec.name: spec.license for spec in (CompactFace.spec, CompactVoice.spec)
}


def read_terms(license_words: str) -> frozenset[Term]:
    """The terms of a licence in words, such as "CC BY-NC-SA 4.0"."""
    words = license_words.lower()
    found = frozenset(term for term, pattern in _PATTERNS if re.search(pattern, words))
    if found or _FREE.search(words):
        return found
    return frozenset({Term.UNKNOWN})


def corpus_source(name: str) -> Source:
    """The licence of a corpus; of one that has no reader here, nothing is known."""
    if name not in corpus_names():
        return Source(name, "not known here", frozenset({Term.UNKNOWN}))
    info = create_corpus(name).info
    return Source(info.title, info.license, read_terms(info.license))


def plain_name(backbone: str) -> str:
    """A backbone's name without the revision behind `@` and the rows behind `+`."""
    return backbone.partition("@")[0].partition("+")[0]


def backbone_source(backbone: str) -> Source:
    """The licence of a backbone, given as in a checkpoint."""
    name = plain_name(backbone)
    words = _PACKAGE_BACKBONES.get(name)
    if words is None and name in PRETRAINED:
        words = PRETRAINED[name].license
    if words is None:
        return Source(backbone, "not known here", frozenset({Term.UNKNOWN}))
    return Source(name, words, read_terms(words))


def sources_of(info: CheckpointInfo) -> tuple[Source, ...]:
    """Everything that went into a checkpoint."""
    backbones = [backbone_source(used.backbone) for used in info.backbones.values()]
    return (*(corpus_source(name) for name in info.data.corpora), *backbones)


def choose_license(sources: Iterable[Source], wanted: str | None = None) -> License:
    """The licence for what was made from the sources.

    Args:
        sources: what went into it.
        wanted: the publisher's choice, a name of the hub's list; by default what the sources
            demand, and none where they demand nothing: that choice is not ours.

    Raises:
        ConfigError: the wanted licence gives away what a source does not allow.
    """
    sources = tuple(sources)
    terms = frozenset[Term]().union(*(source.terms for source in sources)) - {Term.UNKNOWN}
    if not terms:
        demanded = _UNRESTRICTED
    elif terms == {Term.NON_COMMERCIAL}:
        demanded = License("cc-by-nc-4.0")
    elif terms == {Term.NON_COMMERCIAL, Term.SHARE_ALIKE}:
        demanded = License("cc-by-nc-sa-4.0")
    elif terms == {Term.SHARE_ALIKE}:
        demanded = License("cc-by-sa-4.0")
    else:
        demanded = RESTRICTED
    if wanted is None or wanted == demanded.id:
        return demanded
    missing = terms - read_terms(wanted)
    if missing:
        because = "; ".join(f"{s.name}: {s.license}" for s in sources if s.terms & missing)
        raise ConfigError(
            f"licence {wanted!r} is not allowed: it does not say {', '.join(sorted(missing))} "
            f"({because}). Leave it out to take {demanded.id}"
        )
    return License(wanted)


# The page of a checkpoint on the hub, made from the checkpoint's own figures.

_HEADS: Final = {"emotion": "fused emotion", "face": "face emotion", "voice": "voice emotion"}
_OURS: Final = frozenset({"library_name", "pipeline_tag", "datasets", "base_model", "model-index"})
_CHOSEN: Final = ("license", "license_name", "license_link")


def build_card(
    info: CheckpointInfo, hub_id: str, written: str | None = None, *, license: str | None = None
) -> str:
    """The card for the hub: header, what the checkpoint's own card says, how to use it, licences.

    Args:
        info: of the checkpoint.
        hub_id: `owner/name` that it will have.
        written: the checkpoint's card as people may have edited it; made anew if None. Its text
            stays; of its header, entries that the checkpoint does not decide.
        license: a name of the hub's list, in place of what the sources demand.

    Raises:
        WeightsError: the checkpoint or its card says nothing of the data, or its header is broken.
        ConfigError: the licence gives away what a source does not allow.
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import ModelCard
        from yaml import YAMLError  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    if not info.data.corpora or not info.data.train.num_clips:
        raise WeightsError("the checkpoint names no data that it was trained on")
    try:
        card = ModelCard(
            describe(info) if written is None else written, ignore_metadata_errors=False
        )
    except (ValueError, YAMLError) as error:
        raise WeightsError(f"README.md: its header is broken ({error})") from error
    kept: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call,unused-ignore]
    body = card.text.strip()
    _check_names_data(body, info)
    sources = sources_of(info)
    try:
        chosen = choose_license(sources, license or _written_license(kept))
    except ConfigError as error:
        raise ConfigError(f"{hub_id}: {error}") from error
    header = _header(info, hub_id, kept, chosen)
    parts = [f"---\n{header.to_yaml()}\n---", body]
    for title, lines in (
        ("Use", _usage(hub_id)),
        ("Licence", _license_lines(chosen, sources)),
    ):
        if f"\n## {title}\n" not in f"\n{body}\n":
            parts.append("\n".join([f"## {title}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def has_clean_figures(info: CheckpointInfo, corpus: str) -> bool:
    """Whether figures on the corpus may be shown in lists of results.

    Not where a backbone is known to have seen it, nor where the run only showed that it runs.
    """
    seen = {name for used in info.backbones.values() for name in used.training_corpora}
    is_small = info.settings.get("run", {}).get("size") == "small"
    return corpus not in seen and not is_small


def listed_figures(info: CheckpointInfo) -> tuple[Figure, ...]:
    """Figures for lists of results: of the test part, on corpora that no backbone saw."""
    return tuple(
        figure
        for figure in info.training.figures
        if figure.part == "test" and has_clean_figures(info, figure.corpus)
    )


def _check_names_data(body: str, info: CheckpointInfo) -> None:
    text = body.lower()
    unnamed = [
        name for name in info.data.corpora if name not in text and _title(name).lower() not in text
    ]
    if unnamed:
        raise WeightsError(
            f"README.md: says nothing of the data; name {', '.join(unnamed)} in it, or delete the "
            "file, and a card is made from the checkpoint"
        )


def _written_license(header: dict[str, Any]) -> str | None:
    named = header.get("license")
    return str(named) if named else None


def _header(info: CheckpointInfo, hub_id: str, kept: dict[str, Any], chosen: License) -> Any:
    from huggingface_hub import ModelCardData

    named = {key: value for key, value in kept.items() if key not in _OURS and key not in _CHOSEN}
    languages = {create_corpus(n).info.language for n in info.data.corpora if n in corpus_names()}
    languages -= {None}
    results = [_result(figure, info) for figure in listed_figures(info)]
    names = [plain_name(used.backbone) for used in info.backbones.values()]
    bases = [PRETRAINED[name].hub_id for name in names if name in PRETRAINED]
    tags = ["facevoice", *named.pop("tags", []), *(f"{m.value}-emotion" for m in info.backbones)]
    link = f"https://huggingface.co/{hub_id}#licence" if chosen.name else None
    return ModelCardData(
        license=chosen.id,
        license_name=chosen.name,
        license_link=link,
        language=named.pop("language", sorted(str(code) for code in languages) or None),
        library_name="facevoice",
        pipeline_tag=_pipeline_tag(info),
        tags=tags,
        datasets=list(info.data.corpora),
        base_model=[hub_id for hub_id in bases if hub_id] or None,
        model_name=hub_id.partition("/")[2] if results else None,
        eval_results=results or None,
        **named,
    )


def _pipeline_tag(info: CheckpointInfo) -> str:
    seen = Modality.VIDEO in info.network.modalities
    return "video-classification" if seen else "audio-classification"


def _result(figure: Figure, info: CheckpointInfo) -> Any:
    from huggingface_hub import EvalResult

    head, _, kind = figure.name.rpartition("_")
    target = getattr(info.data, f"{head}_target", None)
    words = f"{kind.upper()} of {_HEADS.get(head, head)}" + (f", {target}" if target else "")
    part = getattr(info.data, figure.part)
    return EvalResult(
        task_type=_pipeline_tag(info),
        task_name="emotion and congruence of face and voice",
        dataset_type=figure.corpus,
        dataset_name=_title(figure.corpus),
        dataset_split=figure.part,
        dataset_args={
            "protocol": f"speaker-independent: {info.data.split}",
            "speakers": sum(s.startswith(f"{figure.corpus}/") for s in part.speakers),
        },
        metric_type=kind,
        metric_name=words,
        metric_value=round(figure.value, 4),
    )


def _title(corpus: str) -> str:
    return create_corpus(corpus).info.title if corpus in corpus_names() else corpus


def _usage(hub_id: str) -> Iterator[str]:
    yield "```"
    yield "pip install 'facevoice[full]'"
    yield f"facevoice pull {hub_id}"
    yield "```"
    yield ""
    yield "```python"
    yield "import facevoice"
    yield ""
    yield f'analyzer = facevoice.from_pretrained("{hub_id}")  # revision="…" pins a commit'
    yield 'print(analyzer.analyze("talk.mp4").summary.outcome)'
    yield "```"
    yield ""
    yield "Only JSON, TOML and safetensors are fetched, checked by SHA-256; nothing is unpickled."


def _license_lines(chosen: License, sources: tuple[Source, ...]) -> Iterator[str]:
    if chosen.id is None:
        yield "The publisher named no licence for these weights; ask before you use them."
    elif chosen.name is not None:
        yield f"{chosen.name.replace('-', ' ').capitalize()}: the strictest of these terms hold."
    else:
        yield f"{chosen.id.upper()}, as what they were made from demands or allows."
    yield from ("", "| made from | licence | so |", "|---|---|---|")
    for source in sources:
        so = ", ".join(term for term in Term if term in source.terms) or "attribution"
        yield f"| {source.name} | {source.license} | {so} |"


# Sends files to a repository of the hub in one commit: all of them or none.

DEFAULT_BRANCH: Final = "main"
DEFAULT_TOKEN_VARIABLE: Final = "HF_TOKEN"  # noqa: S105

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a commit goes.

    kind: "model" or "space"; private: asked for when the repository is made, and required of one
    that is there; create_pr: propose the commit instead of making it.
    """

    hub_id: str
    kind: str = "model"
    revision: str = DEFAULT_BRANCH
    private: bool = False
    create_pr: bool = False

    def __post_init__(self) -> None:
        check_hub_id(self.hub_id)
        if self.create_pr and self.private:
            raise ConfigError("--private and --create-pr exclude each other: nothing is created")


@dataclass(frozen=True, slots=True)
class SentCommit:
    """What came of it.

    commit: that the branch is at now; is_new: False where the repository held the same files
    already; pull_request: its address, if one was asked for.
    """

    hub_id: str
    commit: str
    url: str
    is_new: bool
    pull_request: str | None = None


def check_hub_id(hub_id: str) -> None:
    """Check the form of a repository's name.

    Raises:
        ConfigError: it is not `owner/name`.
    """
    if not _HUB_ID.fullmatch(hub_id) or ".." in hub_id or "--" in hub_id:
        raise ConfigError(f"{hub_id!r} is no name of a repository: write OWNER/NAME")


def find_token(variable: str = DEFAULT_TOKEN_VARIABLE) -> str:
    """The token in an environment variable; for `HF_TOKEN` also the one that was logged in with.

    Raises:
        HubError: there is none.
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import get_token
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    token = os.environ.get(variable, "").strip()
    if not token and variable == DEFAULT_TOKEN_VARIABLE:
        token = get_token() or ""
    if not token:
        raise HubError(
            f"no token: set {variable} to one that may write (made at {TOKENS_PAGE})"
            + (", or run hf auth login" if variable == DEFAULT_TOKEN_VARIABLE else "")
        )
    return token


def send_commit(
    target: Target,
    files: Mapping[str, bytes | Path],
    message: str,
    *,
    token: str,
    token_variable: str = DEFAULT_TOKEN_VARIABLE,
    endpoint: str | None = None,
) -> SentCommit:
    """Make the repository if need be and commit the files; what else it holds stays.

    Raises:
        HubError: it was not accepted; the repository is as it was.
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    api = HfApi(endpoint=endpoint, token=token, library_name="facevoice", library_version=VERSION)
    try:
        before = _prepare(api, target)
        made = _commit(api, target, files, message, before)
    except (http_error_type(), OSError, ValueError, RuntimeError, LookupError) as error:
        raise explain_upload(error, target.hub_id, token_variable) from error
    return SentCommit(
        hub_id=target.hub_id,
        commit=str(made.oid),
        url=str(made.commit_url),
        is_new=made.oid != before,
        pull_request=made.pr_url,
    )


def _prepare(api: Any, target: Target) -> str:
    """Make repository and branch if need be; returns the branch's commit."""
    if not target.create_pr:
        api.create_repo(
            target.hub_id,
            repo_type=target.kind,
            private=target.private or None,
            exist_ok=True,
            space_sdk="gradio" if target.kind == "space" else None,
        )
    info = api.repo_info(target.hub_id, repo_type=target.kind)
    if target.private and not info.private:
        raise HubError(
            f"{target.hub_id}: is there already, and public; nothing was sent. Make it private on "
            "its page, or choose another name."
        )
    if target.revision == DEFAULT_BRANCH:
        return str(info.sha)
    if not target.create_pr:
        api.create_branch(
            target.hub_id, branch=target.revision, repo_type=target.kind, exist_ok=True
        )
    found = api.repo_info(target.hub_id, repo_type=target.kind, revision=target.revision)
    return str(found.sha)


def _commit(
    api: Any, target: Target, files: Mapping[str, bytes | Path], message: str, parent: str
) -> Any:
    from huggingface_hub import CommitOperationAdd

    return api.create_commit(
        target.hub_id,
        operations=[
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
            for name, content in sorted(files.items())
        ],
        commit_message=message,
        repo_type=target.kind,
        revision=target.revision,
        create_pr=target.create_pr,
        parent_commit=parent,
    )


# Publishes a checkpoint: checked first, then sent in one commit with a card of its own figures.


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file of a commit: its name there, bytes, and SHA-256."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class PushPlan:
    """Exactly what will be sent: bytes that were checked, by name, and the card among them."""

    hub_id: str
    contents: Mapping[str, bytes]

    @property
    def files(self) -> tuple[PlannedFile, ...]:
        """By name."""
        return tuple(
            PlannedFile(name, len(content), hashlib.sha256(content).hexdigest())
            for name, content in sorted(self.contents.items())
        )

    @property
    def card(self) -> str:
        """The page on the hub."""
        return self.contents[CARD_FILE].decode()

    @property
    def license(self) -> str | None:
        """The licence that the card's header names."""
        found = re.search(r"^license: (\S+)$", self.card.split("---\n")[1], flags=re.MULTILINE)
        return None if found is None else found[1]


def plan_push(folder: Path, hub_id: str, *, license: str | None = None) -> PushPlan:
    """Check a checkpoint and make its card; nothing is sent.

    Raises:
        WeightsError: the checkpoint is damaged or holds something else than safetensors, or its
            card says nothing of the data.
        ConfigError: no such name, a licence that the data do not allow, or a checkpoint that brings
            its own backbones.
        MissingExtraError: the extra `full` is not installed.
    """
    check_hub_id(hub_id)
    _refuse_tuned(folder)
    info = load_checkpoint(folder).info
    contents = read_files(folder)
    contents[INDEX_FILE] = (folder / INDEX_FILE).read_bytes()
    try:
        card = build_card(info, hub_id, _written_card(folder), license=license)
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}") from error
    contents[CARD_FILE] = card.encode()
    return PushPlan(hub_id, contents)


def push_checkpoint(
    folder: Path,
    hub_id: str,
    *,
    revision: str = "main",
    private: bool = False,
    create_pr: bool = False,
    message: str | None = None,
    license: str | None = None,
    token_variable: str = DEFAULT_TOKEN_VARIABLE,
    endpoint: str | None = None,
) -> SentCommit:
    """Publish a checkpoint folder as a model repository of the hub.

    Args:
        folder: the checkpoint.
        hub_id: `owner/name`, made if it is not there.
        revision: branch, made if it is not there.
        private: only the owner sees it.
        create_pr: propose it as a pull request to a repository that is there.
        message: of the commit.
        license: a name of the hub's list, in place of what the data demand.
        token_variable: environment variable with the token.
        endpoint: address of the hub; by default `HF_ENDPOINT`.

    Raises:
        WeightsError, ConfigError, MissingExtraError: as `plan_push`; nothing was sent.
        HubError: no token, or the hub did not accept it; the repository is as it was.
    """
    target = Target(hub_id, revision=revision, private=private, create_pr=create_pr)
    plan = plan_push(folder, hub_id, license=license)
    return send_plan(plan, target, message, token_variable=token_variable, endpoint=endpoint)


def send_plan(
    plan: PushPlan,
    target: Target,
    message: str | None = None,
    *,
    token_variable: str = DEFAULT_TOKEN_VARIABLE,
    endpoint: str | None = None,
) -> SentCommit:
    """Send what was planned; see `push_checkpoint`."""
    return send_commit(
        target,
        plan.contents,
        message or "Add a facevoice checkpoint",
        token=find_token(token_variable),
        token_variable=token_variable,
        endpoint=endpoint,
    )


def _refuse_tuned(folder: Path) -> None:
    tuned = read_tuned(folder, INDEX_FILE) if (folder / INDEX_FILE).is_file() else {}
    if tuned:
        raise ConfigError(
            f"{folder}: brings its own {' and '.join(tuned)} backbone, trained along, which the "
            "hub's commands do not carry; pass the whole folder on, or train with the backbones "
            "frozen"
        )


def _written_card(folder: Path) -> str | None:
    try:
        return (folder / CARD_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{folder / CARD_FILE}: can't be read ({error})") from error


# Gets published checkpoints: fetched once, pinned to a commit, checked, never unpickled.

PATTERNS: Final = (INDEX_FILE, CARD_FILE, *HASHED_FILES)
"""Nothing else of a repository is ever fetched."""
ORIGIN_FILE: Final = "origin.json"
"""In a folder that was pulled: repository and commit."""
DEFAULT_REVISION: Final = "main"

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PulledCheckpoint:
    """A published checkpoint on this disk, all hashes checked.

    folder: in the hub's cache, or the one that was asked for; commit: 40 hex digits.
    """

    folder: Path
    hub_id: str
    commit: str
    info: CheckpointInfo

    @property
    def origin(self) -> str:
        """`owner/name@commit`: names these bytes for good."""
        return f"{self.hub_id}@{self.commit}"


def pull_checkpoint(
    hub_id: str,
    *,
    revision: str = DEFAULT_REVISION,
    out: Path | None = None,
    overwrite: bool = False,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
) -> PulledCheckpoint:
    """Fetch a checkpoint from the hub, or take it from the cache.

    A commit that is cached whole is not asked for again; a branch is asked for its commit, and the
    cached one serves where the hub can't be reached. A file that is damaged in the cache is
    fetched anew, once.

    Args:
        hub_id: `owner/name`.
        revision: commit, branch, tag, or `refs/pr/N`.
        out: also written there, with `origin.json`; whole or not at all.
        overwrite: replace another checkpoint in `out`.
        endpoint: address of the hub; by default `HF_ENDPOINT`.
        cache_dir: by default the cache of huggingface_hub (`HF_HOME`).

    Raises:
        WeightsError: not found, no access, not reachable and not cached, no checkpoint of
            facevoice, or not the bytes that its hashes name.
        ConfigError: no such name.
        MissingExtraError: huggingface_hub is not installed.
    """
    check_hub_id(hub_id)
    if out is not None:
        _check_target(out, overwrite)
    places = {"endpoint": endpoint, "cache_dir": cache_dir}
    folder = _fetch(hub_id, revision, places, anew=False)
    try:
        info = check_folder(folder)
    except WeightsError as error:
        _LOG.warning("%s; it is fetched anew", error)
        folder = _fetch(hub_id, folder.name, places, anew=True)
        info = check_folder(folder)
    if revision != folder.name:
        _LOG.info("%s@%s is commit %s", hub_id, revision, folder.name)
    if out is not None:
        _write_copy(folder, out, {"repository": hub_id, "commit": folder.name})
    return PulledCheckpoint(out or folder, hub_id, folder.name, info)


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    config: AnalyzerConfig | None = None,
    backbones: Sequence[str] = (),
    num_threads: int = 1,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
) -> Analyzer:
    """An analyzer that runs a model of the hub or of a folder.

    Args:
        name: `owner/name` of a published checkpoint, or a folder of `facevoice train` or
            `facevoice export`.
        revision: commit, branch or tag of the hub; name a commit to always get the same.
        config, backbones, num_threads: as for `Analyzer`.
        endpoint, cache_dir: as for `pull_checkpoint`.

    Raises:
        WeightsError, ConfigError, MissingExtraError: as `pull_checkpoint` and `Analyzer`.
    """
    from facevoice.analyzer import Analyzer

    if Path(name).is_dir():
        if revision is not None:
            raise ConfigError(f"{name} is a folder: it has no revision {revision!r}")
        folder = Path(name)
    else:
        _check_no_folder(name)
        folder = pull_checkpoint(
            str(name),
            revision=revision or DEFAULT_REVISION,
            endpoint=endpoint,
            cache_dir=cache_dir,
        ).folder
    return Analyzer(config, checkpoint=folder, backbones=backbones, num_threads=num_threads)


def check_folder(folder: Path) -> CheckpointInfo:
    """Check a checkpoint by its own hashes, and that its weights are safetensors; needs no torch.

    Raises:
        WeightsError: something is absent, damaged or another thing.
        MissingExtraError: safetensors is not installed.
    """
    info = read_info(folder)
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy"):
            pass
    except SafetensorError as error:
        raise WeightsError(f"{folder / WEIGHTS_FILE}: is no safetensors file ({error})") from error
    return info


def _fetch(hub_id: str, revision: str, places: dict[str, Any], *, anew: bool) -> Path:
    """The snapshot's folder, named by its commit."""
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    name = f"{hub_id}@{revision}"
    try:
        found = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=list(PATTERNS),
            force_download=anew,
            library_name="facevoice",
            **places,
        )
    except (errors.EntryNotFoundError, http_error_type(), OSError, ValueError) as error:
        raise WeightsError(explain_download(error, name)) from error
    folder = Path(found)
    if not _COMMIT.fullmatch(folder.name):
        raise WeightsError(f"{name}: the hub named no commit for it, so it can't be pinned.")
    return folder


def _check_no_folder(name: str | Path) -> None:
    text = str(name)
    if isinstance(name, Path) or text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise ConfigError(f"{text}: no such folder, and no OWNER/NAME of the hub")


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / INDEX_FILE).is_file()):
        raise ConfigError(f"--out {out}: holds something else than a checkpoint; name another")
    if any(out.iterdir()) and not overwrite:
        raise ConfigError(f"--out {out}: holds a checkpoint already; name another, or --overwrite")


def _write_copy(folder: Path, out: Path, origin: dict[str, str]) -> None:
    contents = read_files(folder)
    contents |= {
        n: (folder / n).read_bytes() for n in (INDEX_FILE, CARD_FILE) if (folder / n).is_file()
    }
    contents[ORIGIN_FILE] = f"{json.dumps(origin, indent=2)}\n".encode()
    with whole_folder(out) as part:
        for name, content in contents.items():
            (part / name).write_bytes(content)
