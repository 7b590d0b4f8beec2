"""Run Prometheus and Alertmanager with shortened copies of the shipped rules, and receive their notifications."""

import http.server
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from app.settings import ROOT
from dev.drills.shortened_rules import shorten
from dev.drills.stage import DrillFailed
from dev.postgres.postmaster import free_port

SHIPPED = ROOT / "deploy" / "prometheus"
PROGRAMS = ("prometheus", "prometheus-alertmanager")  # also the names of the Debian packages
SCRAPE, EVALUATE, GROUP = "2s", "1s", "2s"


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification of Alertmanager. `status` is `firing` or `resolved`; `at` is a monotonic time."""

    alert: str
    series: str
    status: str
    receiver: str
    at: float


@dataclass
class Monitoring:
    """Prometheus, Alertmanager and a receiver. Call `listen`, then `open`, and `close` at the end.

    The receiver also takes the status callbacks of the service and its messages about incidents.
    """

    folder: Path
    notifications: list[Notification] = field(default_factory=list)
    accepts_callbacks: bool = True
    accepts_messages: bool = True
    _children: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def listen(self) -> str:
        """Start the receiver of `/callbacks`, `/messages` and notifications, and return its address.

        Raises DrillFailed if a program that `open` starts is not installed.
        """
        if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
            raise DrillFailed(f"A game day needs the Debian packages {' and '.join(missing)}.")
        self._receive()
        return f"http://127.0.0.1:{self._server.server_port}"

    def open(self, targets: Mapping[str, int]) -> None:
        """Start both programs with the metrics ports of the processes, by the processes' names."""
        self.folder.mkdir()
        port, alerts = free_port(), free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._configure(targets, alerts)
        self._start(
            "prometheus", f"--config.file={self.folder / 'prometheus.yml'}", f"--storage.tsdb.path={self.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        )  # fmt: skip
        self._start(
            "prometheus-alertmanager", f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'alerts'}", f"--web.listen-address=127.0.0.1:{alerts}",
            "--cluster.listen-address=",
        )  # fmt: skip
        for address in (self.address, f"http://127.0.0.1:{alerts}"):
            self._wait_ready(f"{address}/-/ready")

    def wait_firing(self, alert: str, since: float, seconds: float) -> Notification | None:
        """Return the first notification after `since` that an alert fires, or None after `seconds`."""

        def first() -> Notification | None:
            notes = [note for note in self._of(alert) if note.status == "firing" and note.at >= since]
            return notes[0] if notes else None

        return _wait(first, seconds)

    def wait_resolved(self, alert: str, seconds: float) -> Notification | None:
        """Return the notification that an alert's last series resolved, or None after `seconds`."""

        def last() -> Notification | None:
            status: dict[str, Notification] = {note.series: note for note in self._of(alert)}
            notes = sorted(status.values(), key=lambda note: note.at)
            return notes[-1] if notes and all(note.status == "resolved" for note in notes) else None

        return _wait(last, seconds)

    def _of(self, alert: str) -> list[Notification]:
        return [note for note in list(self.notifications) if note.alert == alert]

    def notify(self, receiver: str, alerts: list[dict[str, Any]]) -> None:
        """Record the alerts in a notification of Alertmanager, except those whose status did not change."""
        known = {note.series: note.status for note in self.notifications}
        for alert in alerts:
            series, status = alert["fingerprint"], alert["status"]
            if known.get(series) != status:
                name = alert["labels"]["alertname"]
                self.notifications.append(Notification(name, series, status, receiver, time.monotonic()))

    def query(self, expression: str) -> list[Any]:
        """Return the result of an instant query to Prometheus."""
        response = httpx.get(f"{self.address}/api/v1/query", params={"query": expression}, timeout=10)
        return list(response.raise_for_status().json()["data"]["result"])

    def close(self) -> None:
        """End both programs and the receiver."""
        for child in self._children:
            child.terminate()
        for child in self._children:
            child.wait(30)
        with suppress(AttributeError):
            self._server.shutdown()
            self._server.server_close()

    def _configure(self, targets: Mapping[str, int], alerts: int) -> None:
        """Write the shipped configuration files with addresses of this machine and shorter intervals."""
        for name in ("rules.yml", "alerts.yml"):
            rules = shorten(yaml.safe_load((SHIPPED / name).read_text()))
            (self.folder / name).write_text(yaml.safe_dump(rules))
        config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
        config["global"] = {
            "scrape_interval": SCRAPE,
            "scrape_timeout": SCRAPE,
            "evaluation_interval": EVALUATE,
        }
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alerts}"]}]}]
        config["scrape_configs"][0]["static_configs"] = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"role": name.partition("-")[0]}}
            for name, port in targets.items()
        ]
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        routing = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text())
        routing["route"] |= {"group_wait": "1s", "group_interval": GROUP}
        for receiver in routing["receivers"]:
            receiver["webhook_configs"] = [
                {"url": f"http://127.0.0.1:{self._server.server_port}/{receiver['name']}"}
            ]
        (self.folder / "alertmanager.yml").write_text(yaml.safe_dump(routing))

    def _receive(self) -> None:
        monitoring = self

        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/callbacks":
                    self.send_response(200 if monitoring.accepts_callbacks else 503)
                elif self.path == "/messages":
                    self.send_response(200 if monitoring.accepts_messages else 503)
                else:
                    monitoring.notify(self.path[1:], json.loads(body)["alerts"])
                    self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._children.append(
                subprocess.Popen(
                    [name, *words], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

    def _wait_ready(self, address: str) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with suppress(httpx.HTTPError):
                if httpx.get(address, timeout=2).is_success:
                    return
            time.sleep(0.2)
        logs = [(self.folder / f"{name}.log").read_text().strip().splitlines()[-1:] for name in PROGRAMS]
        raise DrillFailed(f"{address} did not answer within 30 s. The logs end with: {logs}.")


def _wait(find: Callable[[], Notification | None], seconds: float) -> Notification | None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (note := find()) is not None:
            return note
        time.sleep(0.2)
    return None
