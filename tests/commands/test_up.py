"""`./run`, as a stranger meets it: it starts, takes an event, survives kill -9, and leaves nothing behind.

Also its embedded Postgres, which starts automatically, whatever the last run left behind.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import pytest

from dev.postgres.cluster import THROWAWAY, Cluster, EmbeddedError
from dev.postgres.postmaster import PidFile, end_orphans, free_port, is_of_cluster, port_taken
from tests.commands.test_monitoring_port import ports_of
from tests.databases import execute, running
from tests.pipeline import fork_server
from tests.tables import cases
from tests.waiting import wait_until

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
CHOSEN_KEY = "chosen-by-the-operator-" + "x" * 20


@dataclass
class Machine:
    """A bare machine of its own: a data folder, ports, and launchers started on it."""

    folder: Path
    port: int
    sandbox_port: int
    metrics_port: int
    launched: list[subprocess.Popen[bytes]] = field(default_factory=list)

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
        words = shlex.split(line.replace("$BOOTSTRAP_ADMIN_KEY", CHOSEN_KEY))
        headers = dict(word.split(": ", 1) for word in words if re.match(r"[A-Z][A-Za-z-]+: ", word))
        return httpx.post(words[2], headers=headers, content=words[-1], timeout=20)

    def arrived(self) -> list[dict[str, object]]:
        address = f"http://127.0.0.1:{self.sandbox_port}/_sandbox/events"
        answer = httpx.get(address, params={"advertiser_id": "4000000000001"}, timeout=10).json()
        return list(answer["events"] if isinstance(answer, dict) and "events" in answer else answer["items"])


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, free_port(), free_port(), free_port())
    yield made
    for process in made.launched:
        for pid in made.group(process):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    if (pid := made.postmaster()) is not None:
        os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: made.postmaster() is None)


def test_processes_are_counted_watched_started_again_and_ended(machine: Machine) -> None:
    """Two of each kind, each with a port of its own, counted on from METRICS_PORT: the API's first.

    A key that the operator chose is never printed: the line to paste names the variable instead. Settings
    with a structure, such as the roles of groups, reach the API processes. API, workers and Postgres come
    back by themselves, and the screen says so. Ctrl-C ends every process, Postgres included.
    """
    launcher = machine.run(
        BOOTSTRAP_ADMIN_KEY=CHOSEN_KEY,
        METRICS_PORT=str(machine.metrics_port),
        API_PROCESSES="2",
        WORKER_PROCESSES="2",
        OIDC_ISSUER="http://127.0.0.1:9",
        OIDC_CLIENT_ID="console",
        OIDC_ROLES="admin=CN=Ads%2COU=Leads,viewer=everyone",
        TCF_PURPOSES="1,7,9",
    )
    assert CHOSEN_KEY not in machine.screen
    address = f"http://127.0.0.1:{machine.port}"
    listed = httpx.get(f"{address}/destinations", headers={"X-Api-Key": CHOSEN_KEY}, timeout=10)
    assert len(listed.json()["items"]) == 1
    assert "/console/oidc/start" in httpx.get(f"{address}/console/sign-in", timeout=10).text

    wanted = [machine.metrics_port + number for number in range(4)]

    def owned() -> list[list[int]]:
        found = (sorted(ports_of(pid) & set(wanted)) for pid in machine.group(launcher))
        return sorted(filter(None, found))

    # The welcome screen waits for the API, not for workers.
    wait_until(lambda: len(owned()) == 4)
    assert owned() == [[port] for port in wanted]
    for port in wanted:
        assert httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).status_code == 200

    # Launcher, sandbox, API processes, workers; Postgres alone is elsewhere.
    assert len(machine.group(launcher)) == 6
    postmaster = machine.postmaster()
    assert postmaster is not None
    assert postmaster not in machine.group(launcher)
    for pid in (*(machine.group(launcher) - {launcher.pid}), postmaster):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: machine.postmaster() not in {None, postmaster})

    def takes_events() -> bool:
        try:
            return machine.send().status_code == 202
        except httpx.HTTPError:
            return False

    wait_until(takes_events)
    wait_until(lambda: len(machine.arrived()) == 1)
    for name in ("API process", "worker process", "sandbox process", "Postgres"):
        assert f"{name} exited" in machine.screen
    os.killpg(launcher.pid, signal.SIGINT)
    assert launcher.wait(60) == 0, machine.screen
    assert machine.group(launcher) == set()
    assert machine.postmaster() is None
    assert "was killed" not in machine.screen


def test_a_start_after_kill_9_of_everything_finds_what_was_there(machine: Machine) -> None:
    """The same destination and the same key; nothing has to be cleaned by hand.

    The line of the first screen is accepted and reaches the sandbox. A launcher that is killed alone leaves
    no process that would hold a port against the next start.
    """
    launcher = machine.run()
    answer = machine.send()
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    wait_until(lambda: len(machine.arrived()) == 1)
    before = machine.screen.splitlines()
    postmaster = machine.postmaster()
    assert postmaster is not None
    for pid in (*machine.group(launcher), postmaster):
        os.kill(pid, signal.SIGKILL)
    launcher.wait()
    launcher = machine.run()
    for name in ("Admin key", "Example destination"):
        [line] = [line for line in before if name in line]
        assert line in machine.screen.splitlines()
    assert machine.send().status_code == 202
    launcher.kill()
    launcher.wait()
    wait_until(lambda: machine.group(launcher) == set())
    for port in (machine.port, machine.sandbox_port):
        socket.create_server(("127.0.0.1", port)).close()


def test_a_port_in_use_is_reported_in_one_sentence(tmp_path: Path) -> None:
    """Before anything is started, and with the setting that moves it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = {"PORT": str(port), "SANDBOX_PORT": str(free_port()), "DATA_DIR": str(tmp_path)}
        second = fork_server.run((), {**os.environ, **settings})
    assert second.returncode == 2
    assert f"PORT: port {port} is in use" in second.stderr
    assert "Traceback" not in second.stderr


# A launcher of its own process, to be killed: starts the cluster, says so, and waits.
LAUNCHER = """
import sys, time
from pathlib import Path
from dev.postgres.cluster import Cluster, THROWAWAY
Cluster(Path(sys.argv[1]), settings=THROWAWAY).start()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a stopped cluster and another file, below one that is closed to everybody else.

    A cluster takes a second to create: the tests share it, and each leaves it stopped.
    """
    closed = tmp_path_factory.mktemp("up") / "closed above"
    inside = closed / "kept here"
    inside.mkdir(parents=True)
    (inside / "somebody's file").write_text("stays")
    closed.chmod(0o700)
    with running(throwaway(inside)) as created:
        assert not created.adopted
    yield inside
    assert (inside / "somebody's file").read_text() == "stays"
    shutil.rmtree(closed, ignore_errors=True)


def throwaway(folder: Path, patience: float = 5) -> Cluster:
    return Cluster(folder, settings=THROWAWAY, lock_timeout=patience)


def killed_launcher(folder: Path) -> None:
    """Start a cluster from a process that is then killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait()
    process.stdout.close()


async def test_what_was_written_is_there_after_a_clean_stop(folder: Path) -> None:
    """A second start finds the first one's tables, at the same address."""
    with running(throwaway(folder)) as first:
        await execute(first.url, "CREATE TABLE kept AS SELECT 7 AS seven")
        address = first.url
    with running(throwaway(folder)) as second:
        assert second.url == address
        assert await execute(second.url, "SELECT seven FROM kept") == [(7,)]


async def test_a_postmaster_that_outlived_its_launcher_is_adopted(folder: Path) -> None:
    """The server of a killed launcher is taken over, not started a second time."""
    killed_launcher(folder)
    survivor = PidFile.of(folder / "postgres")
    with running(throwaway(folder)) as cluster:
        assert cluster.adopted
        assert PidFile.of(folder / "postgres") == survivor
        assert await execute(cluster.url, "SELECT 1") == [(1,)]
    assert survivor is not None
    assert not is_of_cluster(survivor.pid, folder / "postgres")


@cases(
    "left_behind",
    {
        "a crash left the pid file empty": "",
        "the pid was given to a stranger since": "{stranger}\n/elsewhere\n1\n1\n\n\n\nready\n",
        "no process has the pid": "999999\n/elsewhere\n1\n1\n\n\n\nready\n",
    },
)
async def test_a_stale_pid_file_is_no_obstacle(folder: Path, left_behind: str) -> None:
    """Whatever a pid file says, only a live process of this cluster counts."""
    home = folder / "postgres"
    owner = home.stat()
    # Of the server's own account: Postgres itself would take it for a postmaster and refuse to start.
    as_owner = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "60"], **as_owner)
    try:
        (home / "postmaster.pid").write_text(left_behind.format(stranger=stranger.pid))
        os.chown(home / "postmaster.pid", owner.st_uid, owner.st_gid)
        with running(throwaway(folder)) as cluster:
            assert not cluster.adopted
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="orphans are found through /proc")
def test_backends_that_do_not_notice_are_ended(folder: Path) -> None:
    """An orphan that never looks whether its postmaster lives is found by its working directory."""
    cluster = throwaway(folder)
    cluster.start()
    home = folder / "postgres"
    found = PidFile.of(home)
    assert found is not None
    os.kill(found.pid, signal.SIGSTOP)
    backends = [
        int(entry.name)
        for entry in Path("/proc").glob("[0-9]*")
        if int(entry.name) != found.pid and is_of_cluster(int(entry.name), home)
    ]
    assert backends
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    os.kill(found.pid, signal.SIGKILL)
    end_orphans(home)
    wait_until(lambda: not any(is_of_cluster(pid, home) for pid in backends))
    cluster.stop()


def test_two_launchers_of_one_folder_are_distinguished(folder: Path) -> None:
    """The second says who is in its way, and the first goes on."""
    with running(throwaway(folder)) as first:
        with pytest.raises(EmbeddedError, match=r"Another \./run uses"):
            throwaway(folder, patience=0).start()
        assert first.alive()
        assert throwaway(folder).url_if_running() == first.url


async def test_a_port_in_use_is_replaced_by_another(folder: Path) -> None:
    """Somebody else's listener on the kept port does not keep the database from starting."""
    with running(throwaway(folder)) as cluster:
        port = int(cluster.url.rpartition(":")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", port)), running(throwaway(folder)) as cluster:
        assert f":{port}/" not in cluster.url
        assert await execute(cluster.url, "SELECT 1") == [(1,)]


def test_a_folder_of_somebody_elses_files_is_refused(tmp_path: Path) -> None:
    """Files where the cluster would be are not overwritten."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "precious").write_text("stays")
    with pytest.raises(EmbeddedError, match="contains files but no Postgres cluster"):
        throwaway(tmp_path).start()
    assert (tmp_path / "postgres" / "precious").read_text() == "stays"


async def test_secrets_are_readable_by_their_owner_only_and_the_server_is_durable(tmp_path: Path) -> None:
    """The default settings are the durable ones; the password is in a file of mode 0600."""
    with running(Cluster(tmp_path, lock_timeout=0)) as cluster:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await execute(cluster.url, f"SHOW {name}") == [("on",)]
        assert (tmp_path / "postgres.json").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "postgres.log").stat().st_mode & 0o777 == 0o600
        wrong = cluster.url.replace(":" + cluster.url.split(":")[2].partition("@")[0] + "@", ":wrong@")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await execute(wrong, "SELECT 1")


def test_a_free_port_is_none_that_an_outgoing_connection_gets() -> None:
    """Between the choice of a port and its use, a connection of another process would take it."""
    listener = socket.create_server(("127.0.0.1", free_port()))
    with listener, socket.create_connection(listener.getsockname()) as outgoing:
        assert port_taken(listener.getsockname()[1])
        assert max(free_port() for _ in range(100)) < min(32_768, outgoing.getsockname()[1])
