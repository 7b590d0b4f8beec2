"""A real Prometheus and Alertmanager with the shipped rules, on loopback; notifications arrive here."""

import http.server
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from app.settings import ROOT
from dev.drills.stage import DrillFailed
from dev.postgres.postmaster import free_port

SHIPPED = ROOT / "deploy" / "prometheus"
PROGRAMS = {"prometheus": "prometheus", "prometheus-alertmanager": "prometheus-alertmanager"}
SCRAPE = "5s"


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification of Alertmanager: alert, `firing` or `resolved`, receiver, and time."""

    alert: str
    status: str
    receiver: str
    at: float


@dataclass
class Monitoring:
    """Started by `open` with the metrics ports of the processes; stopped by `close`."""

    folder: Path
    notifications: list[Notification] = field(default_factory=list)
    _children: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def open(self, targets: Mapping[str, int]) -> None:
        """Start both programs. Raises DrillFailed if they are not installed."""
        missing = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
        if missing:
            raise DrillFailed(f"A game day needs the Debian packages {' and '.join(missing)}.")
        self.folder.mkdir()
        self._receive()
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

    def wait_for(self, alert: str, status: str, since: float, seconds: float) -> Notification:
        """Wait for a notification after a given time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for note in list(self.notifications):
                if (note.alert, note.status) == (alert, status) and note.at >= since:
                    return note
            time.sleep(0.2)
        raise DrillFailed(f"{alert} was not {status} within {seconds:.0f} s.")

    def query(self, expression: str) -> list[Any]:
        """Return the result of an instant query."""
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
        """Write the shipped configuration with addresses of this machine and shorter intervals."""
        for name in ("rules.yml", "alerts.yml"):
            shutil.copy(SHIPPED / name, self.folder / name)
        config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE}
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alerts}"]}]}]
        config["scrape_configs"][0]["static_configs"] = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"role": name.partition("-")[0]}}
            for name, port in targets.items()
        ]
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        routing = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text())
        routing["route"] |= {"group_wait": "1s", "group_interval": SCRAPE}
        for receiver in routing["receivers"]:
            receiver["webhook_configs"] = [
                {"url": f"http://127.0.0.1:{self._server.server_port}/{receiver['name']}"}
            ]
        (self.folder / "alertmanager.yml").write_text(yaml.safe_dump(routing))

    def _receive(self) -> None:
        notifications = self.notifications

        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    name, status = alert["labels"]["alertname"], alert["status"]
                    notifications.append(Notification(name, status, self.path[1:], time.monotonic()))
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
        raise DrillFailed("Prometheus or Alertmanager did not start.")
