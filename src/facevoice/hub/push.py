"""Publishes a checkpoint: checked first, then sent in one commit with a card of its own figures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from facevoice.errors import ConfigError, WeightsError
from facevoice.hub.card import build_card
from facevoice.hub.commit import (
    DEFAULT_TOKEN_VARIABLE,
    SentCommit,
    Target,
    check_hub_id,
    find_token,
    send_commit,
)
from facevoice.models.checkpoint_folder import CARD_FILE, INDEX_FILE, load_checkpoint, read_files
from facevoice.models.tuned import read_tuned


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
