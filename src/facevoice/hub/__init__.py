"""Checkpoints and Spaces on the model hub: publish, get, and try in a browser. Extra `full`."""

from __future__ import annotations

from facevoice.hub.hub import HubError, PushPlan, from_pretrained, plan_push, pull_checkpoint
from facevoice.hub.space import SpaceOptions, plan_space, write_space

__all__ = [
    "HubError",
    "PushPlan",
    "SpaceOptions",
    "from_pretrained",
    "plan_push",
    "plan_space",
    "pull_checkpoint",
    "write_space",
]
