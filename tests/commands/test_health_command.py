"""`health` judges the process of its role, and nothing that it does not know."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from app.commands import health


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers readiness as a process does."""

    reasons: tuple[str, ...] = ()

    def do_GET(self) -> None:
        """Answer 200 or 503."""
        self.send_response(503 if self.reasons else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"reasons": self.reasons}).encode())

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def port() -> Iterator[int]:
    """A process that is ready."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("role", "variable"),
    [("serve", "PORT"), ("serve", "METRICS_PORT"), ("work", "METRICS_PORT"), ("sandbox", "SANDBOX_PORT")],
)
def test_a_ready_process_is_healthy(
    role: str, variable: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each role is asked on its own port."""
    monkeypatch.delenv("METRICS_PORT", raising=False)
    monkeypatch.setenv(variable, str(port))
    assert health.main([role]) == 0


def test_the_reasons_are_printed(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`docker inspect` shows them."""
    monkeypatch.setattr(Answer, "reasons", ("clock_off", "stopping"))
    monkeypatch.setenv("METRICS_PORT", str(port))
    assert health.main(["work"]) == 1
    assert capsys.readouterr().out == "clock_off, stopping\n"


def test_nobody_listening_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs while it starts, or a worker that cannot be asked."""
    monkeypatch.setenv("METRICS_PORT", "1")
    assert health.main(["serve"]) == 1
    monkeypatch.delenv("METRICS_PORT")
    assert health.main(["work"]) == 1


@pytest.mark.parametrize(
    ("lines", "role"),
    [
        (
            [["/sbin/docker-init", "--", "python", "-m", "app", "work"], ["python", "-m", "app", "health"]],
            "work",
        ),
        ([["python", "-m", "app", "sandbox", ""]], "sandbox"),
        ([["python", "-m", "app", "migrate"]], "migrate"),
        ([["python", "-m", "app", "health"], ["sh"]], "serve"),
    ],
)
def test_the_role_is_that_of_the_running_process(lines: list[list[str]], role: str) -> None:
    """The image has one health check for all roles."""
    assert health.running_role(lines) == role


def test_a_command_that_ends_by_itself_is_healthy() -> None:
    """An orchestrator must not kill a migration that runs for a minute."""
    assert health.problem_of("migrate", {}) is None
