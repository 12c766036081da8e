"""Numbers for Prometheus: of the jobs, of this process, and of what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector

from facevoice.service.work import Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts requests; asks for all else when it is read.

    Args:
        count_jobs: jobs by their state.
        tally: what this process has done.
    """

    def __init__(self, count_jobs: Callable[[], dict[str, int]], tally: Tally) -> None:
        self._registry = CollectorRegistry()
        self._count_jobs, self._tally = count_jobs, tally
        labels = ("method", "path", "status")
        self._requests = Counter(
            "facevoice_requests", "Requests, by path and status.", labels, registry=self._registry
        )
        self._seconds = Histogram(
            "facevoice_request_seconds",
            "Time until the answer begins.",
            ("path",),
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def count(self, method: str, path: str, status: int, took_s: float) -> None:
        """Note a request; `path` as of the route, not with the ids of jobs."""
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(path).observe(took_s)

    def text(self) -> bytes:
        """In the form that Prometheus reads."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """For the registry."""
        jobs = GaugeMetricFamily("facevoice_jobs", "Jobs that there are.", labels=["state"])
        for state, number in self._count_jobs().items():
            jobs.add_metric([state], number)
        yield jobs
        tally = self._tally
        with tally.lock:
            done, media_s, work_s = dict(tally.num_answered), tally.media_s, tally.work_s
        answered = CounterMetricFamily(
            "facevoice_jobs_answered",
            "Jobs that this process answered, by outcome or kind of error.",
            labels=["answer"],
        )
        for what, number in done.items():
            answered.add_metric([what], number)
        yield answered
        told = "Length of the files that this process analysed."
        yield CounterMetricFamily("facevoice_media_seconds", told, value=media_s)
        told = "Time that it worked on them."
        yield CounterMetricFamily("facevoice_work_seconds", told, value=work_s)

    def describe(self) -> Iterator[Any]:
        """Nothing is asked for at registration."""
        return iter(())
