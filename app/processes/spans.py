"""Connect a process to an OpenTelemetry collector, if OTLP_ENDPOINT is set."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.processes.resources import Resources
from app.telemetry import VERSION


@asynccontextmanager
async def record_spans(resources: Resources) -> AsyncIterator[None]:
    """Record spans during the block. Raises SettingsError if the extra `otlp` is not installed."""
    settings = resources.settings
    if settings.otlp_endpoint is None:
        yield
        return
    from app.tracing import OtlpSpans

    spans = OtlpSpans(settings, role=resources.role, version=VERSION)
    resources.telemetry.spans = spans
    try:
        yield
    finally:
        spans.close()
