"""Sends files to a repository of the hub in one commit: all of them or none."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from facevoice.errors import ConfigError, MissingExtraError
from facevoice.hub.problems import (
    EXTRA,
    FEATURE,
    TOKENS_PAGE,
    HubError,
    explain_upload,
    http_error_type,
)
from facevoice.version import VERSION

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
