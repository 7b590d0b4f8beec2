"""docs/metrics.md: every metric with its labels and its help text."""

from collections.abc import Iterator
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry

from app.domain.admission import Limits
from app.processes.monitoring_port import DatabaseGauges
from app.server.admission import AdmissionController
from app.server.connection_limits import ConnectionLimits
from app.server.middleware import RequestMiddleware
from app.server.server import Server
from app.telemetry import NAMESPACE, Telemetry

PREFIX: Final = f"{NAMESPACE}_"
SUFFIXES: Final = {
    "counter": ("_total",),
    "gauge": ("",),
    "info": ("_info",),
    "histogram": ("_bucket", "_sum", "_count"),
}

_INTRODUCTION: Final = """# Metrics

Generated from the code by `./run docs --update`. A test keeps it up to date.

Every process serves its metrics at `/metrics` ([Prometheus](monitoring.md#prometheus)): sum over the
processes. A gauge marked ¹ or ² comes from the database and has the same value in every process: take the
maximum instead. With `METRICS_PER_DESTINATION=true` those marked ² also have the label `destination`.

All names begin with `amazon_conversions_`. Counters end with `_total`, times are in seconds. The metrics
`process_*` (memory, CPU, open files) come from the Prometheus client library. Values of labels: reasons of
[rejected events](reasons.md), of [dropped match keys](identity.md#reasons-for-dropping-a-trait) and of
[shed requests and closed connections](admission.md); [outcomes](api.md#the-history-of-an-event) of requests
to Amazon; [kinds of incidents](incidents.md).

| metric | meaning |
|---|---|
"""


def registry(*, per_destination: bool = False) -> CollectorRegistry:
    """Return the metrics of an API process and of a worker together."""
    telemetry = Telemetry()
    DatabaseGauges(cast(Any, None), telemetry, per_destination=per_destination)
    admission = AdmissionController(
        bounds=Limits(),
        registry=telemetry.registry,
        monotonic=lambda: 0.0,
        jitter=lambda: 0.0,
        known_caller=lambda headers: (None, False),
        flush_age_s=lambda: 0.0,
        resident_bytes=lambda: 0,
    )
    RequestMiddleware(_application, registry=telemetry.registry, admission=admission)
    Server(
        _application,
        keep_alive_seconds=1,
        shutdown_delay_s=0,
        limits=ConnectionLimits(),
        registry=telemetry.registry,
    )
    return telemetry.registry


def exported(registry: CollectorRegistry) -> dict[str, tuple[tuple[str, ...], str]]:
    """Return the labels and the help text of every exported name of ours."""
    found: dict[str, tuple[tuple[str, ...], str]] = {}
    for collector in list(registry._collector_to_names):
        for family in collector.collect():
            named = getattr(collector, "_labelnames", ()) or getattr(family, "_labelnames", ())
            labels = ("version",) if family.type == "info" else tuple[str, ...](named)
            for suffix in SUFFIXES[family.type]:
                found[family.name + suffix] = labels, family.documentation
    return {name: own for name, own in found.items() if name.startswith(PREFIX)}


def page() -> str:
    """Return docs/metrics.md."""
    return _INTRODUCTION + "".join(_rows())


def _rows() -> Iterator[str]:
    by_destination = exported(registry(per_destination=True))
    from_database = {family.name for family in DatabaseGauges(cast(Any, None), Telemetry()).collect()}
    for name, (labels, text) in exported(registry()).items():
        if name.endswith(("_sum", "_count")) and name.rpartition("_")[0] + "_bucket" in by_destination:
            continue
        short = name.removeprefix(PREFIX).removesuffix("_bucket")
        braces = f"{{{','.join(labels)}}}" if labels else ""
        mark = " ²" if by_destination[name][0] != labels else " ¹" if name in from_database else ""
        yield f"| `{short}{braces}`{mark} | {text} |\n"


async def _application(*_: object) -> None:
    """Serve nothing."""
