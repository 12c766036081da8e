"""Threads for work that decoders and encoders do outside Python's lock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def thread_pool(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that, after an error or Ctrl-C, begins nothing that has not begun."""
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
