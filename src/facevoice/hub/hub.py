"""Checkpoints on the model hub: published whole, with a card and a licence; got back, checked.

Needs `huggingface_hub` (extra `full`), which is imported where it is used.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from facevoice.backbones.compact import CompactFace, CompactVoice
from facevoice.backbones.huggingface import PRETRAINED
from facevoice.corpora.gather import corpus_names, create_corpus
from facevoice.errors import (
    ConfigError,
    FacevoiceError,
    MissingExtraError,
    WeightsError,
    install_command,
)
from facevoice.files import whole_folder
from facevoice.models.checkpoint import (
    CARD_FILE,
    HASHED_FILES,
    INDEX_FILE,
    WEIGHTS_FILE,
    CheckpointInfo,
    Figure,
    check_target,
    describe,
    is_checkpoint,
    json_bytes,
    load_checkpoint,
    read_files,
    read_info,
    read_tuned,
)
from facevoice.records import VERSION, Modality
from facevoice.settings import AnalyzerConfig

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer

CHECKPOINT_FILES: Final = (INDEX_FILE, CARD_FILE, *HASHED_FILES)
"""Nothing else of a repository is ever sent or fetched."""
ORIGIN_FILE: Final = "origin.json"
"""In a folder that was pulled: repository and commit."""
MAIN_BRANCH: Final = "main"
TOKEN_VARIABLE: Final = "HF_TOKEN"  # noqa: S105

_TOKENS_PAGE: Final = "https://huggingface.co/settings/tokens"
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_LOG = logging.getLogger(__name__)


class HubError(FacevoiceError):
    """Something could not be published; what the repository held before is still there."""


# Publishing.


@dataclass(frozen=True, slots=True)
class SentCommit:
    """The commit that the branch is at now; not new where it held the same files already."""

    commit: str
    url: str
    is_new: bool
    pull_request: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PushPlan:
    """Exactly what will be sent, and where to.

    contents: bytes that were checked, or files, by name; license: None where nobody chose one;
    kind: "model" or "space"; revision: branch, made if it is not there; private: asked for when
    the repository is made, and required of one that is there; create_pr: only propose the commit.
    """

    hub_id: str
    contents: Mapping[str, bytes | Path]
    license: str | None
    kind: str = "model"
    revision: str = MAIN_BRANCH
    private: bool = False
    create_pr: bool = False

    @property
    def card(self) -> str:
        """The page on the hub."""
        return self._read(CARD_FILE).decode()

    def files(self) -> list[tuple[str, int, str]]:
        """Name, bytes, and SHA-256 of each file, by name."""
        found = ((name, self._read(name)) for name in sorted(self.contents))
        return [(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in found]

    def send(
        self,
        message: str | None = None,
        *,
        token_variable: str = TOKEN_VARIABLE,
        endpoint: str | None = None,
    ) -> SentCommit:
        """Make the repository if need be and commit all files; what else it holds stays.

        The token is read from the environment; where `HF_TOKEN` is not set, the one that was logged
        in with does. `endpoint`: address of the hub; by default `HF_ENDPOINT`.

        Raises:
            HubError: no token, or the hub did not accept it; the repository is as it was.
        """
        hub = _library()
        token = _find_token(token_variable)
        api = hub.HfApi(endpoint, token, library_name="facevoice", library_version=VERSION)
        add = hub.CommitOperationAdd
        try:
            before = self._prepare(api)
            made = api.create_commit(
                self.hub_id,
                [add(name, content) for name, content in sorted(self.contents.items())],
                commit_message=message or f"Add a facevoice {self.kind}",
                repo_type=self.kind,
                revision=self.revision,
                create_pr=self.create_pr,
                parent_commit=before,
            )
        except _failures() as error:
            raise _explain_upload(error, self.hub_id, token_variable) from error
        return SentCommit(made.oid, made.commit_url, made.oid != before, made.pr_url)

    def _prepare(self, api: Any) -> str:
        """Make repository and branch if need be; returns the branch's commit."""
        where = {"repo_id": self.hub_id, "repo_type": self.kind}
        if not self.create_pr:
            sdk = "gradio" if self.kind == "space" else None
            api.create_repo(**where, private=self.private or None, exist_ok=True, space_sdk=sdk)
        if self.private and not api.repo_info(**where).private:
            raise HubError(
                f"{self.hub_id}: is there already, and public; nothing was sent. Make it private "
                "on its page, or choose another name."
            )
        if self.revision != MAIN_BRANCH and not self.create_pr:
            api.create_branch(**where, branch=self.revision, exist_ok=True)
        return str(api.repo_info(**where, revision=self.revision).sha)

    def _read(self, name: str) -> bytes:
        content = self.contents[name]
        return content if isinstance(content, bytes) else content.read_bytes()


def plan_push(
    folder: Path,
    hub_id: str,
    *,
    revision: str = MAIN_BRANCH,
    private: bool = False,
    create_pr: bool = False,
    license: str | None = None,
) -> PushPlan:
    """Check a checkpoint folder and make its card; nothing is sent before `PushPlan.send`.

    `hub_id` is `owner/name`; `license` a name of the hub's list, in place of what the data demand;
    for the rest see `PushPlan`.

    Raises:
        WeightsError: the checkpoint is damaged or holds something else than safetensors, or its
            card says nothing of the data.
        ConfigError: no such name, a licence that the data do not allow, or a checkpoint that brings
            its own backbones.
        MissingExtraError: the extra `full` is not installed.
    """
    check_hub_id(hub_id)
    if create_pr and private:
        raise ConfigError("--private and --create-pr exclude each other: nothing is created")
    if tuned := read_tuned(folder):
        raise ConfigError(
            f"{folder}: brings its own {' and '.join(tuned)} backbone, trained along, which the "
            "hub's commands do not carry; pass the whole folder on, or train with the backbones "
            "frozen"
        )
    info = load_checkpoint(folder).info
    card, named = _build_card(info, hub_id, folder / CARD_FILE, license)
    rest = {INDEX_FILE: (folder / INDEX_FILE).read_bytes(), CARD_FILE: card.encode()}
    contents = {**read_files(folder), **rest}
    return PushPlan(hub_id, contents, named, "model", revision, private, create_pr)


def check_hub_id(hub_id: str) -> None:
    """Refuse what is not `owner/name`, by a ConfigError."""
    if not _HUB_ID.fullmatch(hub_id) or ".." in hub_id or "--" in hub_id:
        raise ConfigError(f"{hub_id!r} is no name of a repository: write OWNER/NAME")


def _find_token(variable: str) -> str:
    token, login = os.environ.get(variable, "").strip(), ""
    if variable == TOKEN_VARIABLE:
        token, login = token or _library().get_token(), ", or run hf auth login"
    if not token:
        raise HubError(
            f"no token: set {variable} to one that may write (made at {_TOKENS_PAGE}){login}"
        )
    return token


# Getting: fetched once, pinned to a commit, checked, never unpickled.


@dataclass(frozen=True, slots=True, eq=False)
class PulledCheckpoint:
    """A published checkpoint on this disk, all hashes checked, at this commit."""

    folder: Path
    commit: str
    info: CheckpointInfo


def pull_checkpoint(
    hub_id: str,
    *,
    revision: str = MAIN_BRANCH,
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
        out: also written there, with `origin.json`, whole or not at all.
        overwrite: replace another checkpoint in `out`.
        endpoint, cache_dir: by default those of huggingface_hub (`HF_ENDPOINT`, `HF_HOME`).

    Raises:
        WeightsError: not found, no access, not reachable and not cached, no checkpoint of
            facevoice, or not the bytes that its hashes name.
        ConfigError: no such name, or `out` holds something.
        MissingExtraError: the extra `full` is not installed.
    """
    check_hub_id(hub_id)
    if out is not None:
        check_target(out, is_checkpoint(out), "a checkpoint", overwrite=overwrite)
    places = {"endpoint": endpoint, "cache_dir": cache_dir}
    folder = _fetch(hub_id, revision, places, anew=False)
    try:
        info = check_checkpoint(folder)
    except WeightsError as error:
        _LOG.warning("%s; it is fetched anew", error)
        folder = _fetch(hub_id, folder.name, places, anew=True)
        info = check_checkpoint(folder)
    commit = folder.name
    if out is not None:
        with whole_folder(out) as part:
            for name in CHECKPOINT_FILES:
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, part / name)
            origin = {"repository": hub_id, "commit": commit}
            (part / ORIGIN_FILE).write_bytes(json_bytes(origin))
    return PulledCheckpoint(out or folder, commit, info)


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

    text, folder = str(name), Path(name)
    if folder.is_dir():
        if revision is not None:
            raise ConfigError(f"{text} is a folder: it has no revision {revision!r}")
    elif isinstance(name, Path) or text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise ConfigError(f"{text}: no such folder, and no OWNER/NAME of the hub")
    else:
        folder = pull_checkpoint(
            text, revision=revision or MAIN_BRANCH, endpoint=endpoint, cache_dir=cache_dir
        ).folder
    return Analyzer(config, checkpoint=folder, backbones=backbones, num_threads=num_threads)


def check_checkpoint(folder: Path) -> CheckpointInfo:
    """Check a checkpoint by its own hashes, and that its weights are safetensors; needs no torch.

    Raises:
        WeightsError: something is absent, damaged or another thing.
        MissingExtraError: safetensors is not installed.
    """
    info = read_info(folder)
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError("the model hub", "full") from error
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy"):
            pass
    except SafetensorError as error:
        raise WeightsError(f"{folder / WEIGHTS_FILE}: is no safetensors file ({error})") from error
    return info


def _fetch(hub_id: str, revision: str, places: dict[str, Any], *, anew: bool) -> Path:
    """The snapshot's folder, named by its commit."""
    hub = _library()
    name = f"{hub_id}@{revision}"
    wanted = {"allow_patterns": list(CHECKPOINT_FILES), "force_download": anew, **places}
    try:
        found = hub.snapshot_download(hub_id, revision=revision, library_name="facevoice", **wanted)
    except _failures() as error:
        raise WeightsError(_explain_download(error, name)) from error
    folder = Path(found)
    if not _COMMIT.fullmatch(folder.name):
        raise WeightsError(f"{name}: the hub named no commit for it, so it can't be pinned.")
    return folder


# What the hub's errors mean, told with the remedy and without secrets.

_URL_QUERY: Final = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*")
_UPLOAD: Final = {
    401: f"the token is not accepted. Make one that may write at {_TOKENS_PAGE} and set {{}}, or "
    "run hf auth login.",
    402: "the owner's plan does not allow it. See the account's billing page.",
    403: "the token has no right to write there, or there is no such owner. Check the name, and "
    f"give the token write access to it ({_TOKENS_PAGE}).",
    404: "no such owner, repository or branch, or the token may not see it. Check the name.",
    409: "the hub is busy with another change of this repository. Run again in a moment.",
    412: "somebody changed the branch in the meantime. Look at what is there, and run again.",
    413: "the hub finds a file too large.",
    429: "the hub has had too many requests of this account. Wait a few minutes and run again.",
}
# Those that are kinds of others come before them.
_DOWNLOAD: Final = {
    "HFValidationError": "is no name of a repository. Write OWNER/NAME.",
    "GatedRepoError": "access must be granted. Ask for it on the model's page, then run hf auth "
    "login.",
    "RevisionNotFoundError": "no such revision. Name a commit, branch, tag or refs/pr/N of this "
    "repository.",
    "RepositoryNotFoundError": "no such repository, or it is private. Check the name, or run hf "
    "auth login.",
    "LocalEntryNotFoundError": "not in the cache, or not whole, and the hub can't be reached. Run "
    "once with a connection (and without HF_HUB_OFFLINE), or name a folder.",
}


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise MissingExtraError("the model hub", "full") from error
    return huggingface_hub


def _failures() -> tuple[type[Exception], ...]:
    """What the hub and the way there raise; the HTTP library differs between its versions."""
    root = _library().errors.HfHubHTTPError.__mro__[1]
    return (root, OSError, ValueError, RuntimeError, LookupError)


def _explain_upload(error: BaseException, name: str, token_variable: str) -> HubError:
    errors = _library().errors
    # Uploads of large files run in threads, which wrap what happened.
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (_failures()[0], ConnectionError)):
        cause = cause.__cause__
    if isinstance(cause, errors.OfflineModeIsEnabled):
        words = "HF_HUB_OFFLINE forbids to ask the hub. Unset it and run again."
    elif isinstance(cause, errors.HfHubHTTPError) and cause.response is not None:
        status = cause.response.status_code
        if isinstance(cause, errors.RepositoryNotFoundError):
            status = 404  # strangers are told 401
        other = "refused it" if status < 500 else "failed"
        words = _UPLOAD.get(
            status, f"the hub {other} ({status}). Look at its status, or run again."
        )
        said = (cause.server_message or "").strip().splitlines()
        words = words.format(token_variable) + (f" The hub says: “{said[0]}”." if said else "")
    elif cause is not None:
        words = (
            f"the hub can't be reached, or broke off ({cause}). Check the connection and "
            "HF_ENDPOINT, and run again: files that arrived are not sent again."
        )
    elif isinstance(error, LookupError):
        words = f"the hub's answer makes no sense ({error} is missing). Check HF_ENDPOINT."
    else:
        words = str(error)
    return HubError(f"{name}: {_without_secrets(words)} Nothing was changed there.")


def _explain_download(error: BaseException, name: str) -> str:
    for kind, words in _DOWNLOAD.items():
        if isinstance(error, getattr(_library().errors, kind)):
            return f"{name}: {words}"
    return f"{name}: could not be fetched ({_without_secrets(str(error))}). Run again."


def _without_secrets(text: str) -> str:
    """The text on one line, without the queries of addresses: those may be signed."""
    return _URL_QUERY.sub(r"\1", " ".join(text.split()))


# Under which licence something may be published: the strictest of all that went into it.

# What a licence forbids or demands of what is made from the work (attribution is usual), and how
# its words say so, lower case.
_TERMS: Final = {
    "non-commercial use only": r"\bnc\b|non-?commercial",
    "to be shared under the same terms": r"\bsa\b|share-?alike",
    "no derivatives": r"\bnd\b|no-?deriv",
    "research use only": r"\bresearch\b|internal use|copyright of",
}
_NON_COMMERCIAL, _SHARE_ALIKE = list(_TERMS)[:2]
_UNKNOWN: Final = "terms not known"
_FREE: Final = re.compile(r"\b(mit|apache|bsd|odbl|odc|cc0|gpl|public domain|cc[ -]by)\b")
_DEMANDED: Final = {
    frozenset[str](): None,
    frozenset({_NON_COMMERCIAL}): "cc-by-nc-4.0",
    frozenset({_NON_COMMERCIAL, _SHARE_ALIKE}): "cc-by-nc-sa-4.0",
    frozenset({_SHARE_ALIKE}): "cc-by-sa-4.0",
}
OTHER_LICENSE: Final = "non-commercial-research-share-alike"
"""What the licence `other` is: terms go beyond those of any licence of the hub's list."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something that went into the weights: a corpus or a backbone, with its licence in words."""

    name: str
    license: str = "not known here"

    @property
    def terms(self) -> frozenset[str]:
        """What the licence says."""
        return _read_terms(self.license)


def find_sources(corpora: Iterable[str], backbones: Iterable[str] = ()) -> list[Source]:
    """The licences of corpora and of backbones, these named as in a checkpoint."""
    known = {spec.name: spec.license for spec in (CompactFace.spec, CompactVoice.spec)}
    known |= {name: spec.license for name, spec in PRETRAINED.items()}
    found = []
    for name in corpora:
        info = create_corpus(name).info if name in corpus_names() else None
        found.append(Source(name) if info is None else Source(info.title, info.license))
    for backbone in backbones:
        name = _plain_name(backbone)
        found.append(Source(name, known[name]) if name in known else Source(backbone))
    return found


def choose_license(sources: Sequence[Source], wanted: str | None = None) -> str | None:
    """The licence for what was made from the sources, as the hub names it.

    `wanted` is the publisher's choice; by default what the sources demand, and None where they
    demand nothing: that choice is not ours. `other` is `OTHER_LICENSE`.

    Raises:
        ConfigError: the wanted licence gives away what a source does not allow.
    """
    terms = frozenset[str]().union(*(source.terms for source in sources)) - {_UNKNOWN}
    demanded = _DEMANDED.get(terms, "other")
    if wanted is None or wanted == demanded:
        return demanded
    missing = terms - _read_terms(wanted)
    if missing:
        because = "; ".join(f"{s.name}: {s.license}" for s in sources if s.terms & missing)
        raise ConfigError(
            f"licence {wanted!r} is not allowed: it does not say {', '.join(sorted(missing))} "
            f"({because}). Leave it out to take {demanded}"
        )
    return wanted


def _read_terms(license_words: str) -> frozenset[str]:
    words = license_words.lower()
    found = frozenset(term for term, pattern in _TERMS.items() if re.search(pattern, words))
    return found if found or _FREE.search(words) else frozenset({_UNKNOWN})


def _plain_name(backbone: str) -> str:
    """A backbone's name without the revision behind `@` and the rows behind `+`."""
    return backbone.partition("@")[0].partition("+")[0]


# The page of a checkpoint on the hub, made from the checkpoint's own figures.

_HEADS: Final = {"emotion": "fused emotion", "face": "face emotion", "voice": "voice emotion"}
# Entries of a card's header that the checkpoint decides, whatever people wrote there.
_OURS: Final = frozenset(
    {"library_name", "pipeline_tag", "datasets", "base_model", "model-index"}
    | {"license", "license_name", "license_link"}
)


def _build_card(
    info: CheckpointInfo, hub_id: str, written: Path, license: str | None
) -> tuple[str, str | None]:
    """The card and the licence that it names.

    Where people have edited the checkpoint's own card (`written`), their text stays, and of their
    header the entries that the checkpoint does not decide.
    """
    if not info.data.corpora or not info.data.train.num_clips:
        raise WeightsError(f"{written.parent}: the checkpoint names no data it was trained on")
    text, header = _read_card(written, info)
    _check_names_data(text, info, written)
    sources = find_sources(info.data.corpora, (used.backbone for used in info.backbones.values()))
    try:
        license = choose_license(sources, license or header.get("license"))
    except ConfigError as error:
        raise ConfigError(f"{hub_id}: {error}") from error
    parts = [f"---\n{_header(info, hub_id, header, license).to_yaml()}\n---", text]
    for title, lines in (("Use", _usage(hub_id)), ("Licence", _license_lines(license, sources))):
        if f"\n## {title}\n" not in f"\n{text}\n":
            parts.append("\n".join([f"## {title}", "", *lines]))
    return "\n\n".join(parts) + "\n", license


def _read_card(path: Path, info: CheckpointInfo) -> tuple[str, dict[str, Any]]:
    """Text and header of the checkpoint's card; of one that is made now where there is none."""
    card_type = _library().ModelCard
    from yaml import YAMLError  # type: ignore[import-untyped,unused-ignore]

    try:
        text = path.read_text(encoding="utf-8") if path.exists() else describe(info)
        card = card_type(text, ignore_metadata_errors=False)
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error})") from error
    except (ValueError, YAMLError) as error:
        raise WeightsError(f"{path}: its header is broken ({error})") from error
    return card.text.strip(), card.data.to_dict()


def _check_names_data(text: str, info: CheckpointInfo, path: Path) -> None:
    said = text.lower()
    titles = zip(info.data.corpora, find_sources(info.data.corpora), strict=True)
    unnamed = [
        name for name, source in titles if name not in said and source.name.lower() not in said
    ]
    if unnamed:
        raise WeightsError(
            f"{path}: says nothing of the data; name {', '.join(unnamed)} in it, or delete the "
            "file, and a card is made from the checkpoint"
        )


def _header(info: CheckpointInfo, hub_id: str, kept: dict[str, Any], license: str | None) -> Any:
    named = {key: value for key, value in kept.items() if key not in _OURS}
    is_seen = Modality.VIDEO in info.network.modalities
    task = "video-classification" if is_seen else "audio-classification"
    languages = {create_corpus(n).info.language for n in info.data.corpora if n in corpus_names()}
    results = [_result(figure, info, task) for figure in _listed_figures(info)]
    names = [_plain_name(used.backbone) for used in info.backbones.values()]
    bases = [PRETRAINED[name].hub_id for name in names if name in PRETRAINED]
    tags = ["facevoice", *named.pop("tags", []), *(f"{m.value}-emotion" for m in info.backbones)]
    return _library().ModelCardData(
        license=license,
        license_name=OTHER_LICENSE if license == "other" else None,
        license_link=f"https://huggingface.co/{hub_id}#licence" if license == "other" else None,
        language=named.pop("language", sorted(str(code) for code in languages - {None}) or None),
        library_name="facevoice",
        pipeline_tag=task,
        tags=tags,
        datasets=list(info.data.corpora),
        base_model=[base for base in bases if base] or None,
        model_name=hub_id.partition("/")[2] if results else None,
        eval_results=results or None,
        **named,
    )


def _listed_figures(info: CheckpointInfo) -> list[Figure]:
    """Figures for lists of results: of the test part, on corpora that no backbone saw.

    None where the run only showed that it runs.
    """
    seen = {name for used in info.backbones.values() for name in used.training_corpora}
    if info.settings.get("run", {}).get("size") == "small":
        return []
    return [f for f in info.training.figures if f.part == "test" and f.corpus not in seen]


def _result(figure: Figure, info: CheckpointInfo, task: str) -> Any:
    head, _, kind = figure.name.rpartition("_")
    target = getattr(info.data, f"{head}_target", None)
    words = f"{kind.upper()} of {_HEADS.get(head, head)}" + (f", {target}" if target else "")
    part = getattr(info.data, figure.part)
    (source,) = find_sources([figure.corpus])
    return _library().EvalResult(
        task_type=task,
        task_name="emotion and congruence of face and voice",
        dataset_type=figure.corpus,
        dataset_name=source.name,
        dataset_split=figure.part,
        dataset_args={
            "protocol": f"speaker-independent: {info.data.split}",
            "speakers": sum(s.startswith(f"{figure.corpus}/") for s in part.speakers),
        },
        metric_type=kind,
        metric_name=words,
        metric_value=round(figure.value, 4),
    )


def _usage(hub_id: str) -> Iterator[str]:
    yield from ("```", install_command("full"), "```", "")
    yield from ("```python", "import facevoice", "from facevoice.report import summarize_in_words")
    yield ""
    yield f'analyzer = facevoice.from_pretrained("{hub_id}")  # revision="…" pins a commit'
    yield from ('report = analyzer.analyze("talk.mp4")', "print(summarize_in_words(report))")
    yield "for moment in report.moments:"
    yield '    print(f"{moment.start_s:.0f}–{moment.end_s:.0f} s: {moment.outcome}")'
    yield from ("```", "")
    yield "Only JSON, TOML and safetensors are fetched, checked by SHA-256; nothing is unpickled."


def _license_lines(license: str | None, sources: list[Source]) -> Iterator[str]:
    if license is None:
        yield "The publisher named no licence for these weights; ask before you use them."
    elif license == "other":
        yield "Non commercial research share alike: the strictest of these terms hold."
    else:
        yield f"{license.upper()}, as what they were made from demands or allows."
    yield from ("", "| made from | licence | so |", "|---|---|---|")
    for source in sources:
        so = ", ".join(sorted(source.terms, key=[*_TERMS, _UNKNOWN].index)) or "attribution"
        yield f"| {source.name} | {source.license} | {so} |"
