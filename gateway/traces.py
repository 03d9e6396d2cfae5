"""Traces by OpenTelemetry, off by default: a span for each request that reaches the model, one for each message.

vLLM's spans lie beneath them, if it sends its own to the same collector (`SIGNBOARD_TRACES`). A span holds numbers and
names of errors, never a message's text; addresses that carry a key are not traced.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from opentelemetry.propagate import inject
from opentelemetry.trace import NoOpTracer, Span, StatusCode, Tracer

from core import __version__

UNTRACED = "^(?!.*/(generate|v1)/)"  # all addresses but those that ask the model


class Traces:
    """What the gateway sends to an OTLP collector over HTTP.

    Args:
        endpoint: the collector's address, such as http://10.0.0.7:4318/v1/traces; empty: nothing is traced.
    """

    def __init__(self, endpoint: str) -> None:
        self._provider = _provider(endpoint) if endpoint else None

    @property
    def tracer(self) -> Tracer:
        """Begins spans."""
        return self._provider.get_tracer("signboard") if self._provider else NoOpTracer()

    @property
    def hooks(self) -> dict[str, list[Any]]:
        """The HTTP clients' event hooks that tell the model's server which trace a request belongs to."""
        return {"request": [_propagate]} if self._provider else {}

    def follow(self, app: FastAPI) -> None:
        """Begin a span for each request of an app that reaches the model."""
        if self._provider:
            from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

            FastAPIInstrumentor.instrument_app(
                app, tracer_provider=self._provider, excluded_urls=UNTRACED, exclude_spans=["receive", "send"]
            )

    def close(self) -> None:
        """Send what is left; a collector that does not answer costs a few seconds at most."""
        if self._provider:
            self._provider.shutdown()


@contextmanager
def span(tracer: Tracer, name: str, **attributes: int | str) -> Iterator[Span]:
    """Begin a span; an error leaves its type there, and not its text, which may quote a message."""
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as begun:
        try:
            yield begun
        except BaseException as error:
            begun.set_attribute("error.type", type(error).__name__)
            begun.set_status(StatusCode.ERROR)
            raise


def _provider(endpoint: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = Resource.create({"service.name": "signboard-gateway", "service.version": __version__})
    provider = TracerProvider(resource=named)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return provider


async def _propagate(request: Any) -> None:
    inject(request.headers)
