"""Connects a process to an OpenTelemetry collector, if one is configured."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.processes.resources import Resources
from app.telemetry import VERSION


@asynccontextmanager
async def record_spans(resources: Resources) -> AsyncIterator[None]:
    """Record spans during the block; do nothing without OTLP_ENDPOINT. Raises SettingsError."""
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
