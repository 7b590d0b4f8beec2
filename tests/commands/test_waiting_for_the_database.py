"""Processes wait for a database that starts, and come back when it restarts."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.processes import database_wait
from app.store.database import schema_revision
from app.store.database.migrate import configured, upgrade
from app.telemetry import VERSION
from dev.child_processes import RESTARTS, Children
from dev.launcher import _watch
from dev.postgres.cluster import EmbeddedError
from dev.postgres.postmaster import free_port
from tests.pipeline.processes import Product
from tests.waiting import wait_until


@pytest.fixture
def product(empty_database_url: str, tmp_path: Path) -> Iterator[Product]:
    running = Product(empty_database_url, tmp_path / "log.txt")
    yield running
    running.close()


def lines(product: Product, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in product.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == event]


@pytest.mark.parametrize("command", ["serve", "work"])
def test_a_process_waits_for_the_migration(product: Product, empty_database_url: str, command: str) -> None:
    """One sentence instead of a traceback; and no restart is needed."""
    address = product.watched(command)
    wait_until(lambda: product.log.exists() and lines(product, "database.waiting"))
    [waiting] = lines(product, "database.waiting")
    assert waiting["reason"].endswith(f"needs {schema_revision.required()}: run migrate")
    assert waiting["level"] == "warning"
    upgrade(empty_database_url)
    product.ready(f"{address}/health/live")
    log = product.log.read_text()
    assert "Traceback" not in log
    assert "Started server process" not in log


@pytest.mark.parametrize("command", ["serve", "work"])
def test_a_process_says_what_it_waits_for(product: Product, command: str) -> None:
    """Server, database, role and reason; never the password."""
    parts = urlsplit(product.database_url)
    port = free_port()
    product.database_url = product.database_url.replace(str(parts.port), str(port))
    product.watched(command)
    wait_until(lambda: product.log.exists() and lines(product, "database.waiting"))
    [started], [waiting] = lines(product, "process.started"), lines(product, "database.waiting")
    place = {
        "servers": f"127.0.0.1:{port}",
        "database": parts.path.lstrip("/"),
        "database_role": parts.username,
    }
    assert {name: waiting[name] for name in place} == place
    assert "ConnectionRefusedError" in waiting["reason"]
    assert {name: started[name] for name in place} == place
    assert (started["keys"], started["version"]) == ("k1", VERSION)
    assert started["address"] == (f"127.0.0.1:{product.api_port}" if command == "serve" else None)
    assert f":{parts.password}@" not in product.log.read_text()
    if command == "serve":
        product.ready(product.api + "/health/live")
        assert httpx.get(product.api + "/health/ready").json()["reasons"] == ["starting"]


@pytest.mark.parametrize("command", ["serve", "work"])
def test_a_process_starts_past_a_silent_server(database_url: str, tmp_path: Path, command: str) -> None:
    """A frozen node that is first in the URL: pool, own connections and engine all reach the second one."""
    parts = urlsplit(database_url)
    account, _, primary = parts.netloc.rpartition("@")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as frozen:
        hosts = f"127.0.0.1:{frozen.getsockname()[1]},{primary}"
        url = f"{parts.scheme}://{account}@{hosts}{parts.path}?target_session_attrs=read-write"
        with closing(Product(url, tmp_path / "log.txt")) as running:
            address = running.watched(command)
            running.ready(f"{address}/health/live")
            reasons = httpx.get(f"{address}/health/ready", timeout=30).json()["reasons"]
            assert set(reasons) == {"fsync_off", "full_page_writes_off"}  # of the tests' database
            assert lines(running, "database.waiting") == []


def test_a_command_does_not_wait_for_a_migration(product: Product) -> None:
    """It says what to do, in one line."""
    ended = product.run("keys", "list")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "The database cannot be used: its migrations are at no revision, and this version needs "
        f"{schema_revision.required()}: run migrate.\n"
    )


def test_the_warning_is_repeated_every_30_s(caplog: pytest.LogCaptureFixture) -> None:
    """At once, then at 30 s and 60 s, however often the process tries."""
    now = [0.0]
    report = database_wait._reporter("postgresql://role:secret@one:1,two:2/d", lambda: now[0])

    class Attempt:
        class outcome:
            @staticmethod
            def exception() -> BaseException:
                return ConnectionRefusedError(111, "Connection refused")

    for second in range(61):
        now[0] = float(second)
        report(Attempt())  # type: ignore[arg-type]
    assert [record.getMessage() for record in caplog.records] == ["database.waiting"] * 3
    assert caplog.records[0].fields["servers"] == "one:1, two:2"  # type: ignore[attr-defined]
    assert "secret" not in str(vars(caplog.records[0]))


def test_the_needed_revision_is_the_head_of_the_migrations() -> None:
    """It is read from the names of the files, without Alembic."""
    from alembic.script import ScriptDirectory

    assert schema_revision.required() == ScriptDirectory.from_config(configured("")).get_current_head()


class Flaky:
    """A Postgres that has ended; its next `failures` starts fail."""

    def __init__(self, failing: int) -> None:
        self.failing = failing
        self.starts = 0
        self.is_alive = False

    def alive(self) -> bool:
        if self.is_alive:
            raise KeyboardInterrupt  # all that was wanted has come about
        return False

    def start(self) -> None:
        self.starts += 1
        if self.starts <= self.failing:
            raise EmbeddedError("Postgres did not start: it printed nothing.")
        self.is_alive = True


def test_a_start_that_fails_is_tried_again(capfd: pytest.CaptureFixture[str]) -> None:
    """With a sentence for who looks at the terminal."""
    postgres = Flaky(failing=2)
    with pytest.raises(KeyboardInterrupt):
        _watch(Children({}, print), postgres, every_s=0.01)
    assert postgres.starts == 3
    output = capfd.readouterr().err
    assert output.count("Postgres did not start: it printed nothing. Retrying.") == 2


def test_starts_that_keep_failing_end_it(capfd: pytest.CaptureFixture[str]) -> None:
    """As for every other process: more would only hide the fault."""
    postgres = Flaky(failing=100)
    assert _watch(Children({}, print), postgres, every_s=0.01) == 1
    assert postgres.starts == RESTARTS
    assert "Postgres keeps exiting. Stopping." in capfd.readouterr().err
