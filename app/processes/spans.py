"""OpenTelemetry spans over OTLP: an optional extra (`requirements/otlp.txt`), off without OTLP_ENDPOINT.

A sampled span is created when its work has ended. Work that is not sampled costs one random number. If the
caller sent a `traceparent`, its sampling decision applies.
"""

import random
import time
from collections.abc import Mapping, Sequence

from app.domain.trace import is_sampled
from app.settings import Settings, SettingsError
from app.telemetry import VERSION

AttributeValue = str | int | Sequence[int]


class OtlpSpans:
    """Sends sampled spans in the background. A span that the collector does not accept is dropped.

    Raises SettingsError if the extra `otlp` is not installed.
    """

    def __init__(self, settings: Settings, *, role: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise SettingsError(["OTLP_ENDPOINT: the extra `otlp` is not installed."]) from None
        self._share = settings.otlp_sample_percent / 100
        resource = {"service.name": f"amazon-conversions-{role}", "service.version": VERSION}
        self._provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint}/v1/traces", timeout=5)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("app")

    def record(
        self,
        name: str,
        *,
        duration_s: float,
        attributes: Mapping[str, AttributeValue | None],
        parent: str | None = None,
        links: Sequence[str] = (),
    ) -> None:
        """Record a span that ends now, if it is sampled. `parent` and `links` are values of `traceparent`."""
        known = [parent] if parent is not None else links
        if not (any(map(is_sampled, known)) if known else random.random() < self._share):  # noqa: S311
            return
        from opentelemetry.trace import Link, set_span_in_context
        from opentelemetry.trace.span import NonRecordingSpan, SpanContext, TraceFlags

        def context(traceparent: str) -> SpanContext:
            trace, span = int(traceparent[3:35], 16), int(traceparent[36:52], 16)
            return SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))

        ended = time.time_ns()
        span = self._tracer.start_span(
            name,
            set_span_in_context(NonRecordingSpan(context(parent))) if parent is not None else None,
            attributes={key: value for key, value in attributes.items() if value is not None},
            links=[Link(context(each)) for each in links],
            start_time=ended - round(duration_s * 1e9),
        )
        span.end(ended)

    def close(self) -> None:
        """Send the spans that are still queued, then stop."""
        self._provider.shutdown()
