"""Prometheus metrics: counts and seconds, never message texts or keys."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from clients import SignMessage

BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)
AGES = (0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600)


class Metrics:
    """One gateway's metrics, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "signboard_requests", "Answered requests.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "signboard_request_seconds", "From request to answer.", ["route"], buckets=BUCKETS, registry=self.registry
        )
        self._messages = Counter(
            "signboard_messages", "Requests to the model by result.", ["result"], registry=self.registry
        )
        self._samples = Counter("signboard_samples", "Samples of the model.", ["result"], registry=self.registry)
        for counter, results in ((self._messages, ("written", "none")), (self._samples, ("passed", "rejected"))):
            for result in results:  # from the start, or the first one would be no increase
                counter.labels(result)
        self._problems = Counter(
            "signboard_rejected_samples", "Why samples were rejected.", ["problem"], registry=self.registry
        )
        self._unknown = Counter(
            "signboard_unknown_words", "Messages with words that the catalogue does not have.", registry=self.registry
        )

        self._measured = Histogram(
            "signboard_measured_to_shown_seconds",
            "From a sensor's measurement to its message on a board.",
            buckets=AGES,
            registry=self.registry,
        )

    def shown(self, seconds: float) -> None:
        """Count a message that a sensor's measurement caused, by its age when it was shown."""
        self._measured.observe(seconds)

    def gauge(self, name: str, text: str, read: Any) -> None:
        """Add a gauge whose value is read at every scrape."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def message(self, message: SignMessage) -> None:
        """Count a message and its samples."""
        self._messages.labels("written").inc()
        self._samples.labels("passed").inc()
        self._unknown.inc(bool(message.unknown))
        self._reject(message.rejected)

    def no_message(self, rejected: tuple[Any, ...]) -> None:
        """Count a request that got no message, and its samples."""
        self._messages.labels("none").inc()
        self._reject(rejected)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def _reject(self, rejected: tuple[Any, ...]) -> None:
        for sample in rejected:
            self._samples.labels("rejected").inc()
            for problem in sample.problems:
                self._problems.labels(str(problem.problem)).inc()
