"""The turn that a process takes beside others, given back to what it was."""

from __future__ import annotations

import os


def take_usual_turns() -> None:
    """Let this thread, and processes that it starts, run beside others again.

    As root, the AV1 encoder (SVT-AV1) makes the thread that calls it one of real time: whatever it
    does from then on goes before everything else on the machine, and so do its children.
    """
    if hasattr(os, "SCHED_OTHER") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
