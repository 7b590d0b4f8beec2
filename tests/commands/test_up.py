"""`./run`, as a stranger meets it: it starts, takes an event, survives kill -9, and leaves nothing behind."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from dev.postgres.postmaster import PidFile, free_port, is_of_cluster
from tests.commands.test_monitoring_port import ports_of
from tests.waiting import wait_until

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Machine:
    """A bare machine of its own: a data folder, two ports, and launchers started on it."""

    folder: Path
    port: int
    sandbox_port: int
    launched: list[subprocess.Popen[bytes]] = field(default_factory=list)
    metrics_port: int = 0

    @property
    def screen(self) -> str:
        return (self.folder / "screen").read_text()

    def run(self, **settings: str) -> subprocess.Popen[bytes]:
        """Start `up` as the leader of a process group of its own, and wait for the welcome screen."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
            "PORT": str(self.port),
            "SANDBOX_PORT": str(self.sandbox_port),
            "DATA_DIR": str(self.folder / "data"),
            **settings,
        }
        with (self.folder / "screen").open("wb") as screen:
            process = subprocess.Popen(
                [sys.executable, "-m", "app"],
                cwd=ROOT,
                env=environment,
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.launched.append(process)
        wait_until(lambda: "Ctrl-C stops everything" in self.screen or process.poll() is not None)
        assert process.poll() is None, self.screen
        return process

    def group(self, process: subprocess.Popen[bytes]) -> set[int]:
        """The live processes of a launcher's group."""
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                state, _parent, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(group) == process.pid and state != "Z":
                found.add(int(entry.name))
        return found

    def postmaster(self) -> int | None:
        found = PidFile.of(self.folder / "data" / "postgres")
        return found.pid if found and is_of_cluster(found.pid, self.folder / "data" / "postgres") else None

    def send(self) -> httpx.Response:
        """Do what the line on the screen does."""
        line = next(line for line in self.screen.splitlines() if line.startswith("curl "))
        words = shlex.split(line)
        headers = dict(word.split(": ", 1) for word in words if re.match(r"[A-Z][A-Za-z-]+: ", word))
        return httpx.post(words[2], headers=headers, content=words[-1], timeout=20)

    def arrived(self) -> list[dict[str, object]]:
        address = f"http://127.0.0.1:{self.sandbox_port}/_sandbox/events"
        answer = httpx.get(address, params={"advertiser_id": "4000000000001"}, timeout=10).json()
        return list(answer["events"] if isinstance(answer, dict) and "events" in answer else answer["items"])


@contextmanager
def machine_in(folder: Path) -> Iterator[Machine]:
    made = Machine(folder, free_port(), free_port())
    yield made
    for process in made.launched:
        for pid in made.group(process):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    if (pid := made.postmaster()) is not None:
        os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: made.postmaster() is None)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with machine_in(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def large_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A running machine with two processes of each kind and ports to watch them, for tests that only look."""
    with machine_in(tmp_path_factory.mktemp("large")) as made:
        made.metrics_port = free_port()
        made.run(
            METRICS_PORT=str(made.metrics_port),
            API_PROCESSES="2",
            WORKER_PROCESSES="2",
            OIDC_ISSUER="http://127.0.0.1:9",
            OIDC_CLIENT_ID="console",
            OIDC_ROLES="admin=CN=Ads%2COU=Leads,viewer=everyone",
            TCF_PURPOSES="1,7,9",
        )
        yield made


def test_a_first_start_takes_the_event_on_the_screen_and_ctrl_c_leaves_nothing(machine: Machine) -> None:
    """The pasted line is accepted and reaches the sandbox; Ctrl-C ends every process, Postgres included."""
    launcher = machine.run()
    assert len(machine.group(launcher)) == 4  # launcher, sandbox, API, worker; Postgres alone is elsewhere
    assert machine.postmaster() not in machine.group(launcher)
    answer = machine.send()
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    wait_until(lambda: len(machine.arrived()) == 1)
    os.killpg(launcher.pid, signal.SIGINT)
    assert launcher.wait(60) == 0, machine.screen
    assert machine.group(launcher) == set()
    assert machine.postmaster() is None
    assert "was killed" not in machine.screen


def test_every_process_can_be_watched_on_a_port_of_its_own(large_machine: Machine) -> None:
    """Counted on from METRICS_PORT: both API processes, then both workers."""
    (launcher,) = large_machine.launched
    wanted = [large_machine.metrics_port + number for number in range(4)]

    def owned() -> list[list[int]]:
        found = (sorted(ports_of(pid) & set(wanted)) for pid in large_machine.group(launcher))
        return sorted(filter(None, found))

    # The welcome screen waits for the API, not for workers.
    wait_until(lambda: len(owned()) == 4)
    assert owned() == [[port] for port in wanted]
    for port in wanted:
        assert httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).status_code == 200


def test_a_start_after_kill_9_of_everything_finds_what_was_there(machine: Machine) -> None:
    """The same destination and the same key; nothing has to be cleaned by hand."""
    launcher = machine.run()
    machine.send()
    before = machine.screen.splitlines()
    postmaster = machine.postmaster()
    assert postmaster is not None
    for pid in (*machine.group(launcher), postmaster):
        os.kill(pid, signal.SIGKILL)
    launcher.wait()
    machine.run()
    assert [line for line in machine.screen.splitlines() if "Admin key" in line] == [
        line for line in before if "Admin key" in line
    ]
    assert [line for line in machine.screen.splitlines() if "Example destination" in line] == [
        line for line in before if "Example destination" in line
    ]
    assert machine.send().status_code == 202


def test_children_end_when_their_launcher_is_killed(machine: Machine) -> None:
    """Otherwise they would hold the ports against the next start."""
    launcher = machine.run()
    launcher.kill()
    launcher.wait()
    wait_until(lambda: machine.group(launcher) == set())
    for port in (machine.port, machine.sandbox_port):
        socket.create_server(("127.0.0.1", port)).close()


def test_a_child_that_is_killed_is_started_again(machine: Machine) -> None:
    """The API, the worker and Postgres come back by themselves, and the screen says so."""
    launcher = machine.run()
    postmaster = machine.postmaster()
    assert postmaster is not None
    for pid in (*(machine.group(launcher) - {launcher.pid}), postmaster):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: machine.postmaster() not in {None, postmaster})

    def takes_events() -> bool:
        try:
            return machine.send().status_code == 202
        except httpx.HTTPError:
            return False

    wait_until(takes_events)
    wait_until(lambda: len(machine.arrived()) >= 1)
    for name in ("API process", "worker process", "sandbox process", "Postgres"):
        assert f"{name} exited" in machine.screen


def test_a_key_that_the_operator_chose_is_never_printed(machine: Machine) -> None:
    """The line to paste names the variable instead."""
    chosen = "chosen-by-the-operator-" + "x" * 20
    machine.run(BOOTSTRAP_ADMIN_KEY=chosen)
    assert chosen not in machine.screen
    assert "$BOOTSTRAP_ADMIN_KEY" in machine.screen
    listed = httpx.get(
        f"http://127.0.0.1:{machine.port}/destinations", headers={"X-Api-Key": chosen}, timeout=10
    )
    assert len(json.loads(listed.text)["items"]) == 1


def test_two_api_processes_share_the_port(large_machine: Machine) -> None:
    """API_PROCESSES and WORKER_PROCESSES are counts of real processes."""
    (launcher,) = large_machine.launched
    assert len(large_machine.group(launcher)) == 6
    assert large_machine.send().status_code == 202


def test_people_can_sign_in(large_machine: Machine) -> None:
    """Settings with a structure, such as the roles of groups, reach the API processes."""
    page = httpx.get(f"http://127.0.0.1:{large_machine.port}/console/sign-in", timeout=10)
    assert "/console/oidc/start" in page.text


def test_a_port_in_use_is_reported_in_one_sentence(large_machine: Machine) -> None:
    """Before anything is started, and with the setting that moves it."""
    second = subprocess.run(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env={
            **os.environ,
            "PORT": str(large_machine.port),
            "SANDBOX_PORT": str(free_port()),
            "DATA_DIR": str(large_machine.folder / "other"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == 2
    assert f"PORT: port {large_machine.port} is in use" in second.stderr
    assert "Traceback" not in second.stderr
