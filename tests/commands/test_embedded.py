"""The embedded Postgres starts by itself, whatever the last run left behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from dev.postgres.cluster import THROWAWAY, Cluster, EmbeddedError
from dev.postgres.postmaster import PidFile, end_orphans, free_port, is_of_cluster, port_taken
from tests.databases import execute, running
from tests.tables import cases
from tests.waiting import wait_until

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]

# A launcher of its own process, to be killed: starts the cluster, says so, and waits.
LAUNCHER = """
import sys, time
from pathlib import Path
from dev.postgres.cluster import Cluster, THROWAWAY
Cluster(Path(sys.argv[1]), settings=THROWAWAY).start()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with another file in it, below one that is closed to everybody else."""
    closed = tmp_path / "closed above"
    inside = closed / "kept here"
    inside.mkdir(parents=True)
    (inside / "somebody's file").write_text("stays")
    closed.chmod(0o700)
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


async def test_a_start_after_kill_9_of_everything_succeeds(folder: Path) -> None:
    """A pid file of the dead and backends that have not noticed yet are waited out."""
    killed_launcher(folder)
    found = PidFile.of(folder / "postgres")
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    with running(throwaway(folder)) as cluster:
        assert not cluster.adopted
        assert await execute(cluster.url, "SELECT 1") == [(1,)]


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
    cluster = throwaway(folder)
    cluster.start()
    cluster.stop()
    home = folder / "postgres"
    owner = home.stat()
    # Of the server's own account: Postgres itself would take it for a postmaster and refuse to start.
    as_owner = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "60"], **as_owner)
    try:
        (home / "postmaster.pid").write_text(left_behind.format(stranger=stranger.pid))
        os.chown(home / "postmaster.pid", owner.st_uid, owner.st_gid)
        cluster = throwaway(folder)
        cluster.start()
        assert not cluster.adopted
        cluster.stop()
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


def test_a_folder_of_somebody_elses_files_is_refused(folder: Path) -> None:
    """Files where the cluster would be are not overwritten."""
    (folder / "postgres").mkdir()
    (folder / "postgres" / "precious").write_text("stays")
    with pytest.raises(EmbeddedError, match="contains files but no Postgres cluster"):
        throwaway(folder).start()
    assert (folder / "postgres" / "precious").read_text() == "stays"


async def test_secrets_are_readable_by_their_owner_only_and_the_server_is_durable(folder: Path) -> None:
    """The default settings are the durable ones; the password is in a file of mode 0600."""
    with running(Cluster(folder, lock_timeout=0)) as cluster:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await execute(cluster.url, f"SHOW {name}") == [("on",)]
        assert (folder / "postgres.json").stat().st_mode & 0o777 == 0o600
        assert (folder / "postgres.log").stat().st_mode & 0o777 == 0o600
        wrong = cluster.url.replace(":" + cluster.url.split(":")[2].partition("@")[0] + "@", ":wrong@")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await execute(wrong, "SELECT 1")


def test_a_free_port_is_none_that_an_outgoing_connection_gets() -> None:
    """Between the choice of a port and its use, a connection of another process would take it."""
    listener = socket.create_server(("127.0.0.1", free_port()))
    with listener, socket.create_connection(listener.getsockname()) as outgoing:
        assert port_taken(listener.getsockname()[1])
        assert max(free_port() for _ in range(100)) < min(32_768, outgoing.getsockname()[1])
