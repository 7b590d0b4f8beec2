"""Inject faults one after another; alerts fire, are routed and resolve; then all counts are compared."""

import argparse
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dev.drills.load import Load
from dev.drills.monitoring import Monitoring
from dev.drills.stage import Stage
from dev.example import ensure_example

FIRES_WITHIN_S = 240.0
RESOLVES_WITHIN_S = 120.0
WORKERS = ("worker-1", "worker-2")


@dataclass(frozen=True, slots=True)
class Incident:
    """A fault, the alerts that it must fire, and its repair."""

    fault: str
    alerts: tuple[str, ...]
    inject: Callable[[Stage], None]
    repair: Callable[[Stage], None]


def _kill_workers(stage: Stage) -> None:
    for name in WORKERS:
        stage.stop(name, signal.SIGKILL)


def _start_workers(stage: Stage) -> None:
    for name in WORKERS:
        stage.start(name, "work")


def _reconnect(stage: Stage) -> None:
    stage.set_fault(None)
    ensure_example(stage.settings, stage.api)


INCIDENTS = (
    Incident("all workers are killed", ("NoWorker", "ProcessDown"), _kill_workers, _start_workers),
    Incident(
        "Amazon answers 503",
        ("CircuitBreakerOpen",),
        lambda stage: stage.set_fault({"kind": "5xx"}),
        lambda stage: stage.set_fault(None),
    ),
    Incident(
        "the sign-in is revoked",
        ("SignInLost",),
        lambda stage: stage.set_fault({"kind": "revoked"}),
        _reconnect,
    ),
)


def run(folder: Path, asked: argparse.Namespace) -> tuple[str, bool]:
    """Return the report, and whether no event was lost. Raises DrillFailed for an alert that stays silent."""
    del asked
    stage, monitoring = Stage(folder), Monitoring(folder / "monitoring")
    rows: list[str] = []
    began = time.monotonic()
    try:
        stage.open(workers=len(WORKERS))
        monitoring.open(stage.metrics_ports)
        load = Load(stage, callers=2, pause_s=0.1)
        load.start()
        time.sleep(15)
        for incident in INCIDENTS:
            rows += _play(stage, monitoring, incident)
        load.stop()
        counts = stage.drain()
        ids, totals = stage.delivered()
        # Two more scrapes, so that Prometheus has the final counters.
        time.sleep(12)
        received = monitoring.query('sum(amazon_conversions_events_received_total{result="accepted"})')
        imbalance = monitoring.query("max(amazon_conversions_event_count_imbalance)")
        firing = monitoring.query('ALERTS{alertstate="firing"}')
        stage.run("balance")
    finally:
        monitoring.close()
        stage.close()
    accepted = len(load.accepted)
    lost = set(load.accepted) - ids
    report = f"""Game day, {datetime.now(UTC):%d %B %Y}: {time.monotonic() - began:.0f} s, Prometheus and Alertmanager with the shipped rules

| fault | alert | receiver | seconds to fire | seconds to resolve |
|---|---|---|---|---|
{chr(10).join(rows)}

| count | events |
|---|---|
| accepted, by the callers | {accepted:,} |
| accepted, by Prometheus | {float(received[0]["value"][1]):,.0f} |
| accepted, by the service (`stats`) | {counts["accepted"]:,} |
| delivered, by the service (`stats`) | {counts["delivered"]:,} |
| distinct, by the stand-in's log | {totals["distinct"]:,} |
| with other content under the same id, by the stand-in's log | {totals["other_bytes"]} |
| imbalance, by the `balance` command and the last check | 0, {imbalance[0]["value"][1] if imbalance else "none"} |
| alerts that still fire | {", ".join(sorted(item["metric"]["alertname"] for item in firing)) or "none"} |

Lost events: {len(lost)}
"""
    agree = accepted == counts["accepted"] == counts["delivered"] == totals["distinct"]
    return report, not lost and agree and not totals["other_bytes"]


def _play(stage: Stage, monitoring: Monitoring, incident: Incident) -> list[str]:
    """Inject a fault, wait for its alerts, repair it, wait until they resolve; return the report's rows."""
    injected = time.monotonic()
    incident.inject(stage)
    fired = {name: monitoring.wait_for(name, "firing", injected, FIRES_WITHIN_S) for name in incident.alerts}
    repaired = time.monotonic()
    incident.repair(stage)
    rows = []
    for name, note in fired.items():
        resolved = monitoring.wait_for(name, "resolved", repaired, RESOLVES_WITHIN_S)
        rows.append(
            f"| {incident.fault} | `{name}` | {note.receiver} | {note.at - injected:.0f} | {resolved.at - repaired:.0f} |"
        )
    return rows
