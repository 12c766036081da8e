"""Checkpoints and Spaces on the model hub: publish, get, and try in a browser.

Needs `huggingface_hub` (extra `full`), which is imported where it is used.
"""

from __future__ import annotations

from facevoice.hub.commit import SentCommit, Target
from facevoice.hub.problems import HubError
from facevoice.hub.pull import PulledCheckpoint, from_pretrained, pull_checkpoint
from facevoice.hub.push import PushPlan, plan_push, push_checkpoint, send_plan

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
