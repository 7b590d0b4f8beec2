"""The game day: inject faults, check that each alert fires and resolves, then compare all counts of events."""

import argparse
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml
from pydantic import SecretStr

from app.settings import ROOT
from dev.drills import shortened_rules
from dev.drills.faults import TARGETS, WORKERS, FaultCase, FaultInjector
from dev.drills.load import Load
from dev.drills.monitoring import Monitoring
from dev.drills.stage import Stage
from dev.example import Example

FIRES_WITHIN_S = 120.0
RESOLVES_WITHIN_S = 150.0  # workers read the result of a balance check once a minute
QUIET_WITHIN_S = 70.0  # the longest window of the shortened rules, and some seconds
SHED_FROM = 5 * 1024 * 1024  # bytes of request bodies in progress; the lowest limit that the setting allows
ALERTS: list[str] = [
    rule["alert"]
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]


@dataclass
class AlertTimes:
    """Measures how long alerts need to fire and to resolve. `rows` are table rows of the report.

    `seen` has the names of all alerts that were expected so far. `silent` has the names of the alerts that
    did not fire, or did not resolve after the repair.
    """

    monitoring: Monitoring
    rows: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    silent: list[str] = field(default_factory=list)

    def play(self, *faults: FaultCase) -> None:
        """Inject one fault after another, and repair it when its alerts fire.

        Wait until the alerts resolve before the next fault is injected.
        """
        for fault in faults:
            injected = time.monotonic()
            fault.inject()
            fired = {
                name: self.monitoring.wait_firing(name, injected, FIRES_WITHIN_S) for name in fault.alerts
            }
            repaired = time.monotonic()
            fault.repair()
            for name, note in fired.items():
                last = self.monitoring.wait_resolved(name, RESOLVES_WITHIN_S) if note else None
                fires = f"{note.at - injected:.0f}" if note else "not at all"
                resolves = f"{max(0.0, last.at - repaired):.0f}" if last else "not at all"
                self.rows.append(
                    f"| {fault.name} | `{name}` | {note.receiver if note else ''} | {fires} | {resolves} |"
                )
                self.seen.add(name)
                if last is None:
                    self.silent.append(name)


def run(folder: Path, asked: argparse.Namespace) -> tuple[str, bool]:
    """Run the drill. Return its report, and True if all alerts fired and resolved and no event was lost."""
    del asked
    opened = time.monotonic()
    stage, monitoring = Stage(folder), Monitoring(folder / "monitoring")
    alerts = AlertTimes(monitoring)
    try:
        receiver = monitoring.listen()
        more: dict[str, Any] = {
            "max_body_bytes_in_flight": SHED_FROM,
            "notify_webhooks": SecretStr(f"on-call={receiver}/messages"),
            "status_callback_url": f"{receiver}/callbacks",
            "status_callback_secrets": SecretStr("whsec_Z2FtZS1kYXktZ2FtZS1kYXktZ2FtZS1kYXk="),
        }
        stage.open(workers=len(WORKERS), **more)
        targets = {name: _target(stage, name, place) for place, name in enumerate(TARGETS)}
        monitoring.open(stage.metrics_ports)
        faults = FaultInjector(stage, monitoring, targets)
        faults.loads += [Load(stage, callers=1, pause_s=0.1)]
        faults.loads += [
            Load(stage, callers=1, pause_s=1, events=4, destination=each) for each in targets.values()
        ]
        steady = list(faults.loads)
        for load in steady:
            load.start()
        time.sleep(8)
        began = time.monotonic()
        _play(alerts, faults)
        took = time.monotonic() - began
        for load in steady:
            load.stop(answered=True)
        faults.replay_all()
        reconciled, agree = _reconcile(stage, monitoring, faults)
    finally:
        monitoring.close()
        stage.close()
    untested = [name for name in ALERTS if name not in alerts.seen]
    report = f"""Game day, {datetime.now(UTC):%d %B %Y}: {time.monotonic() - opened:.0f} s, {took:.0f} s of them faults, {len(alerts.seen)} of {len(ALERTS)} alerts, Prometheus and Alertmanager.
{shortened_rules.describe()}
Alerts without a fault here: {", ".join(untested) or "none"}. Alerts that did not fire and resolve: {", ".join(alerts.silent) or "none"}.

| fault | alert | receiver | seconds to fire | seconds to resolve |
|---|---|---|---|---|
{chr(10).join(sorted(alerts.rows))}

{reconciled}"""
    return report, agree and not alerts.silent


def _target(stage: Stage, name: str, place: int) -> Example:
    """Create a destination for a fault that is limited to one destination."""
    target = stage.connect(name=name, advertiser=str(4_000_000_000_002 + place))
    stage.set_rate(target, 50)
    return target


def _play(alerts: AlertTimes, faults: FaultInjector) -> None:
    """Inject the faults that may overlap, in threads, then the faults of processes one after another."""
    for sender in (faults.stage.example, faults.targets["refused"]):
        path = f"/destinations/{sender.destination_id}/status-callback"
        faults.stage.call("POST", path, {"enabled": True})
    overlapping = [[fault] for fault in faults.independent()] + [faults.of_amazon(), [faults.of_commits()]]
    with ThreadPoolExecutor(len(overlapping)) as pool:
        for done in [pool.submit(alerts.play, *each) for each in overlapping]:
            done.result()
    alerts.play(*faults.of_processes())


def _reconcile(stage: Stage, monitoring: Monitoring, faults: FaultInjector) -> tuple[str, bool]:
    """Wait until no event waits, and compare the counts of all sources.

    The sources are the senders, the service, its console, Prometheus and the log of the sandbox. Return a
    table, and whether all agree and no event was lost.
    """
    destinations = {load.destination.destination_id: load.destination for load in faults.loads}
    accepted = {
        each: [load for load in faults.loads if load.destination.destination_id == each]
        for each in destinations
    }
    callers = {each: {id_ for load in loads for id_ in load.accepted} for each, loads in accepted.items()}
    service = {each: stage.drain(destination=destination) for each, destination in destinations.items()}
    logs = {each: stage.delivered(destination) for each, destination in destinations.items()}
    console = {each: _console_counts(stage, each) for each in destinations}
    lost = sum(len(ids - logs[each][0]) for each, ids in callers.items())
    other_bytes = sum(log[1]["other_bytes"] for log in logs.values())
    until = time.monotonic() + QUIET_WITHIN_S
    while (firing := monitoring.query('ALERTS{alertstate="firing"}')) and time.monotonic() < until:
        time.sleep(1)
    time.sleep(4)  # scrapes of the final counters
    received = {
        item["metric"]["result"]: round(float(item["value"][1]))
        for item in monitoring.query("sum by (result) (amazon_conversions_events_received_total)")
    }
    imbalance = monitoring.query("max(amazon_conversions_event_count_imbalance)")
    stage.run("balance")
    figures = {
        "accepted, by the callers": sum(map(len, callers.values())),
        "accepted, by the service (`stats`)": sum(counts["accepted"] for counts in service.values()),
        "accepted, by the console": sum(accepted for accepted, _ in console.values()),
        "delivered, by the service (`stats`)": sum(counts["delivered"] for counts in service.values()),
        "delivered, by the console": sum(delivered for _, delivered in console.values()),
        "distinct, by the stand-in's log": sum(log[1]["distinct"] for log in logs.values()),
    }
    still = ", ".join(sorted(item["metric"]["alertname"] for item in firing)) or "none"
    text = "\n".join(
        [
            "| count | events |", "|---|---|", *(f"| {name} | {number:,} |" for name, number in figures.items()),
            f"| accepted, by Prometheus; answered as duplicates | {received['accepted']:,}; {received['duplicate']:,} |",
            f"| with other content under the same id, by the stand-in's log | {other_bytes} |",
            f"| imbalance, by the `balance` command and the last check | 0, {imbalance[0]['value'][1] if imbalance else 'none'} |",
            f"| alerts that still fire | {still} |", "", f"Lost events: {lost}", "",
        ]
    )  # fmt: skip
    total, *others = figures.values()
    # If the database died after it stored a post, the sender got no response. The events of the repeated post
    # then count as duplicates.
    counted = received["accepted"] <= total <= received["accepted"] + received["duplicate"]
    return text, not (lost or other_bytes or firing) and counted and {*others} == {total}


def _console_counts(stage: Stage, destination: str) -> tuple[int, int]:
    """Return (accepted, delivered) of a destination as the console shows them."""
    key = stage.headers["Authorization"].removeprefix("Bearer ")
    with httpx.Client(base_url=stage.api, headers={"Origin": stage.api}, timeout=30) as client:
        client.post("/console/sign-in", data={"key": key})
        page = client.get(f"/console/destinations/{destination}").raise_for_status().text
    found = re.search(r"([\d,\u202f\u00a0 ]+) accepted(?: = ([\d,\u202f\u00a0 ]+) delivered)?", page)
    accepted, delivered = (
        (int(re.sub(r"\D", "", text or "0") or 0) for text in found.groups()) if found else (0, 0)
    )
    return accepted, delivered
