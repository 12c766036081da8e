"""Checkpoints and Spaces on the model hub: publish, get, and try in a browser.

Needs `huggingface_hub` (extra `full`), which is imported where it is used.
"""

from __future__ import annotations

from facevoice.hub.hub import (
    HubError,
    PulledCheckpoint,
    PushPlan,
    SentCommit,
    Target,
    from_pretrained,
    plan_push,
    pull_checkpoint,
    push_checkpoint,
    send_plan,
)

__all__ = [
    "HubError",
    "PulledCheckpoint",
    "PushPlan",
    "SentCommit",
    "Target",
    "from_pretrained",
    "plan_push",
    "pull_checkpoint",
    "push_checkpoint",
    "send_plan",
]
