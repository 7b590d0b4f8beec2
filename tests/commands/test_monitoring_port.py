"""The monitoring port of a process: its content, and that it does not disturb or outlive the process."""

import contextlib
import errno
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.processes.listeners import listen
from app.settings import Settings, SettingsError
from dev.postgres.postmaster import free_port
from tests.pipeline.processes import Product
from tests.waiting import wait_until


@pytest.fixture
def product(database_url: str, tmp_path: Path) -> Iterator[Product]:
    running = Product(database_url, tmp_path / "log.txt")
    yield running
    running.close()


def listening_ports(product: Product, name: str) -> set[int]:
    """The ports on which a process listens; the one that tests hand down to every process left out."""
    return ports_of(product.children[name].pid) - {product.api_port}


def sockets_of(pid: int) -> set[str]:
    """The inodes of a process's sockets. A file that is listed may be closed when it is looked at."""
    targets = set()
    for name in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.add(os.readlink(name))
    return {match[1] for target in targets if (match := re.fullmatch(r"socket:\[(\d+)\]", target))}


def ports_of(pid: int, states: str = "0A") -> set[int]:
    """Return the ports of a process's sockets in these states of TCP, by default of those that listen."""
    inodes = sockets_of(pid)
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = (row for row in rows if re.fullmatch(states, row[3]) and row[9] in inodes)
    return {int(row[1].partition(":")[2], 16) for row in found}


@pytest.mark.parametrize("command", ["serve", "work"])
def test_each_process_shows_its_health_and_its_numbers(product: Product, command: str) -> None:
    """API and worker alike; nothing else is there."""
    address = product.watched(command)
    product.ready(f"{address}/health/live")
    ready = httpx.get(f"{address}/health/ready", timeout=30)
    assert ready.status_code == 503  # the tests' database is not durable, and readiness reports this
    assert "fsync_off" in ready.json()["reasons"]
    numbers = httpx.get(f"{address}/metrics", timeout=30).text
    for name in (
        "amazon_conversions_database_errors_total",
        "amazon_conversions_event_count_imbalance",
        "amazon_conversions_lane_errors_total",
        "amazon_conversions_oldest_waiting_age_seconds",
        "amazon_conversions_waiting_events",
        "amazon_conversions_lanes_owned",
        "amazon_conversions_events_settled",
        "process_resident_memory_bytes",
    ):
        assert re.search(rf"(?m)^# TYPE {name}", numbers), name
    assert httpx.get(f"{address}/destinations", timeout=30).status_code == 404
    assert httpx.post(f"{address}/metrics", timeout=30).status_code == 405
    assert httpx.get(f"{address}/metrics", timeout=30).headers["x-content-type-options"] == "nosniff"


def test_it_listens_to_this_machine_only_and_to_nothing_where_no_port_is_set(product: Product) -> None:
    """HOST decides, and its default is 127.0.0.1; without METRICS_PORT a worker listens nowhere."""
    port = free_port()
    product.more = {"METRICS_PORT": str(port)}
    product.work("watched")
    product.ready(f"http://127.0.0.1:{port}/health/live")
    assert listening_ports(product, "watched") == {port}
    local = f"0100007F:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")] == [local]
    product.kill("watched")
    product.more = {}
    product.work("unwatched")
    # Its own sessions with the database stand: it got as far as it goes.
    wait_until(lambda: len(sockets_of(product.children["unwatched"].pid)) >= 5)
    assert listening_ports(product, "unwatched") == set()


@pytest.mark.parametrize(
    ("command", "setting", "problem"),
    [
        ("work", "METRICS_PORT", "port {} is in use by another process; set a free one."),
        ("serve", "PORT", "port {} is in use by another process; set a free one."),
        ("serve", "HOST", "is no address of this machine"),
    ],
)
def test_a_place_where_it_cannot_listen_is_reported_in_one_sentence(
    product: Product, command: str, setting: str, problem: str
) -> None:
    """Before it waits for the database or delivers anything, with exit code 2 as for every wrong setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        product.more = {setting: "203.0.113.1" if setting == "HOST" else port}
        ended = product.run(command)
    logged, _, sentence = ended.stderr.partition("The settings cannot be used:\n")
    assert (ended.returncode, sentence.count("\n")) == (2, 1), ended.stderr
    assert sentence.startswith(f"  {setting}: {problem.format(port)}")
    assert not logged or command == "work"


@pytest.mark.parametrize("host", ["203.0.113.1", "2001:db8::1", "no-such-host.invalid", "a..b"])
def test_a_host_that_is_not_of_this_machine_is_named(host: str) -> None:
    """Whichever port is opened on it."""
    with pytest.raises(SettingsError, match="HOST: is no address of this machine"):
        listen(Settings(host=host), 0, "PORT")


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (
            errno.EADDRINUSE,
            SettingsError,
            "METRICS_PORT: port 80 is in use by another process; set a free one.",
        ),
        (errno.EACCES, SettingsError, "METRICS_PORT: port 80 is not permitted; set one above 1023."),
        (errno.EMFILE, SystemExit, "Port 80 cannot be opened: Too many open files."),
        (errno.ENOBUFS, SystemExit, "Port 80 cannot be opened: No buffer space available."),
    ],
)
def test_a_port_that_cannot_be_opened_names_the_setting_or_the_cause(
    monkeypatch: pytest.MonkeyPatch, code: int, kind: type[BaseException], message: str
) -> None:
    """No setting is to blame for what the machine lacks."""

    def refuse(*_address: object, **_options: object) -> None:
        raise OSError(code, "x")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(kind) as raised:
        listen(Settings(), 80, "METRICS_PORT")
    assert str(raised.value) == message


def test_asked_to_stop_a_watched_worker_ends_and_takes_its_port_along(product: Product) -> None:
    """The signal is the worker's; a watcher that keeps its connection does not hold it up."""
    address = product.watched("work")
    product.ready(f"{address}/health/live")
    with httpx.Client(timeout=30) as watcher:
        watcher.get(f"{address}/metrics")
        child = product.children.pop("work")
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health/live", timeout=30)
