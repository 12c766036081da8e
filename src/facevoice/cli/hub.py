"""The commands that publish and get models: push, pull, space."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from facevoice.cli.options import Overwrite, Quiet, argument, flag, option, tells_errors
from facevoice.cli.screen import Screen
from facevoice.errors import ConfigError

if TYPE_CHECKING:
    from facevoice.hub import PushPlan


_RETRY: Final = "Run the same command again: files that arrived are not sent again."

_HubId = Annotated[str, argument("OWNER/NAME", "Repository on the hub.")]
_Private = Annotated[
    bool, flag("Only the owner sees it; fails if it is there and public.", "--private")
]
_Message = Annotated[str | None, option("TEXT", "Message of the commit.")]
_TokenEnv = Annotated[
    str,
    option(
        "NAME",
        "Environment variable with a token that may write. For HF_TOKEN, hf auth login does too.",
    ),
]
_DryRun = Annotated[bool, flag("Check everything and list what would be sent.", "--dry-run")]


@tells_errors("push", _RETRY)
def push(
    checkpoint: Annotated[Path, argument("CHECKPOINT", "A checkpoint folder made by `train`.")],
    hub_id: _HubId,
    private: _Private = False,
    revision: Annotated[str, option("BRANCH", "Branch; made if it is not there.")] = "main",
    create_pr: Annotated[
        bool, flag("Propose it to a repository that is there.", "--create-pr")
    ] = False,
    message: _Message = None,
    license: Annotated[
        str | None,
        option(
            "ID",
            "Licence, as the hub names it. Default: what the data and backbones demand, and "
            "none where they demand nothing.",
        ),
    ] = None,
    token_env: _TokenEnv = "HF_TOKEN",  # noqa: S107
    dry_run: _DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Publish a checkpoint on the hub: all of it in one commit, or nothing.

    All hashes are checked before anything is sent. The card is made from the checkpoint's own
    figures and keeps what people wrote into its README.md; a checkpoint that says nothing of its
    data is refused. HF_ENDPOINT names another hub.
    """
    from facevoice.hub import plan_push

    screen = Screen(quiet=quiet)
    plan = plan_push(
        checkpoint,
        hub_id,
        revision=revision,
        private=private,
        create_pr=create_pr,
        license=license,
    )
    if plan.license is None:
        screen.complain("No licence is named, so nobody may use it; name one: --license mit.")
    _send(screen, plan, message, token_env, dry_run=dry_run)


@tells_errors("pull", _RETRY)
def pull(
    hub_id: _HubId,
    revision: Annotated[str, option("REVISION", "Commit, branch, tag or refs/pr/N.")] = "main",
    out: Annotated[
        Path | None, option("DIR", "Write the checkpoint there. Default: the hub's cache.")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Annotated[
        bool, flag("Show only the folder on standard output.", "--quiet", "-q")
    ] = False,
) -> None:
    """Get a published checkpoint, check all of it, and tell its folder and commit.

    Only the files of a checkpoint are fetched, and nothing is unpickled. What was fetched once is
    taken from the cache, also offline; name a commit to always get the same.
    """
    from facevoice.hub import pull_checkpoint

    screen = Screen(quiet=quiet)
    _hide_bars(quiet)
    pulled = pull_checkpoint(hub_id, revision=revision, out=out, overwrite=overwrite)
    typer.echo(pulled.folder)
    data, network = pulled.info.data, pulled.info.network
    channels = " and ".join(network.modalities)
    screen.say(
        f"{hub_id}@{pulled.commit}: {network.fusion} fusion of {channels}",
        f"Trained on {', '.join(data.corpora)}; its README.md has terms and figures.",
    )


@tells_errors("space", _RETRY)
def space(
    folder: Annotated[Path, argument("DIR", "The Space's folder.")],
    checkpoint: Annotated[
        Path | None,
        option("DIR", "Put this checkpoint, or folder made by `export`, into the Space."),
    ] = None,
    hub_id: Annotated[
        str | None,
        option(
            "OWNER/NAME",
            "Let the Space get this checkpoint, at the commit that it has now. Without "
            "--checkpoint and --hub-id: the compact model.",
        ),
    ] = None,
    revision: Annotated[str, option("REVISION", "Of --hub-id: commit, branch or tag.")] = "main",
    samples: Annotated[Path | None, option("DIR", "Clips that visitors may choose.")] = None,
    title: Annotated[str | None, option("TEXT", "Title of the page.")] = None,
    requirement: Annotated[
        str | None,
        option(
            "REQUIREMENT",
            "How pip gets facevoice there, such as a wheel's address. Default: this package is "
            "copied into the folder.",
        ),
    ] = None,
    overwrite: Annotated[bool, flag("Replace a Space that lies in DIR.", "--overwrite")] = False,
    push: Annotated[
        str | None,
        option("OWNER/NAME", "Publish it. A Space that lies in DIR already is sent as it is."),
    ] = None,
    private: _Private = False,
    message: _Message = None,
    token_env: _TokenEnv = "HF_TOKEN",  # noqa: S107
    dry_run: Annotated[
        bool, flag("With --push: write the folder and list its files.", "--dry-run")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write a folder that runs as a Space of the hub: a page to upload clips to.

    Try it first: pip install -r DIR/requirements.txt, then python DIR/app.py.
    """
    from facevoice.hub.space import DEFAULT_TITLE, SpaceOptions, is_space, plan_space, write_space

    screen = Screen(quiet=quiet)
    if push is None and (private or message or dry_run):
        raise ConfigError("--private, --message and --dry-run go with --push OWNER/NAME")
    _hide_bars(quiet)
    asked = (checkpoint, hub_id, samples, title, requirement)
    if not (push and is_space(folder) and asked == (None,) * len(asked) and not overwrite):
        options = SpaceOptions(
            checkpoint, hub_id, revision, samples, requirement, title or DEFAULT_TITLE
        )
        write_space(folder, options, overwrite=overwrite)
        screen.say(f"Written to {folder}")
    if push is not None:
        plan = plan_space(folder, push, private=private)
        _send(screen, plan, message, token_env, dry_run=dry_run)


def _send(
    screen: Screen, plan: PushPlan, message: str | None, token_variable: str, *, dry_run: bool
) -> None:
    if not dry_run:
        _hide_bars(screen.quiet)
        sent = plan.send(message, token_variable=token_variable)
        if sent.pull_request is not None:
            screen.say(f"Proposed: {sent.pull_request}")
        elif sent.is_new:
            screen.say(f"{plan.hub_id} is at commit {sent.commit}: {sent.url}")
        else:
            screen.say(f"{plan.hub_id} holds these files already, at commit {sent.commit}.")
        return
    files = plan.files()
    table = Table("file", "bytes", "sha256", box=None, pad_edge=False)
    for name, num_bytes, sha256 in files:
        table.add_row(name, f"{num_bytes:,}", sha256)
    total = sum(num_bytes for _, num_bytes, _ in files)
    header = plan.card.split("---\n")[1]
    Screen().say(
        table,
        f"\nHeader of the card:\n{header}",
        f"Nothing was sent. Would go to {plan.hub_id}, branch {plan.revision}: "
        f"{len(files)} files, {total:,} bytes.",
    )


def _hide_bars(quiet: bool) -> None:
    """Progress bars are the hub library's own; it would write them into files and pipes too."""
    if quiet or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
