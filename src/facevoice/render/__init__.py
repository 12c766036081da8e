"""Annotated films: what a report says, drawn on the pictures it speaks of."""

from __future__ import annotations

from facevoice.render.pictures import MIN_HEIGHT_PX
from facevoice.render.write import check_target, no_video, render_video

__all__ = ["MIN_HEIGHT_PX", "check_target", "no_video", "render_video"]
