"""`backup` and `restore` on a real Postgres: to the end of the WAL, to a moment, and what is refused."""

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from app.commands import CommandFailed
from app.commands.backup import BackupSource, WalReceiver, delete_old, follow, make_way, restore
from app.commands.postgres_programs import connection_environment, program, requires_tls
from app.settings import Settings
from app.store.database.backups import SLOT
from dev.postgres.cluster import THROWAWAY, Cluster
from tests.databases import execute, running
from tests.pipeline import fork_server

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """DATA_DIR with a cluster in it."""
    yield tmp_path / "data"
    shutil.rmtree(tmp_path / "data", ignore_errors=True)


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the embedded Postgres of a folder."""
    return fork_server.run(words, environment(folder))


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a command on the embedded Postgres of a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "PG"))}
    return {**kept, "DATA_DIR": str(folder), "PYTHONUNBUFFERED": "1"}


@contextmanager
def streaming(saved: Path, environment: dict[str, str]) -> Iterator[fork_server.Fork]:
    """Run `backup --follow`, which streams WAL when the block begins; end it with the block."""
    following, output = fork_server.piped(["backup", str(saved), "--follow"], environment)
    try:
        with output:
            assert "verified" in output.readline()
            assert "Streaming WAL" in output.readline()
            yield following
            following.send_signal(signal.SIGTERM)
            following.wait(60)
    finally:
        following.kill()


async def numbers_after(cluster: Cluster, *statements: str) -> list[int]:
    """Run statements; return the numbers in the table."""
    rows = await execute(cluster.url, *statements, "SELECT n FROM numbers ORDER BY n")
    return [row["n"] for row in rows]


async def test_a_restore_ends_at_the_moment_or_at_the_end_of_the_wal(folder: Path, tmp_path: Path) -> None:
    """What was committed until then is there, what came later is not."""
    cluster = Cluster(folder, settings=THROWAWAY)
    cluster.start()
    await numbers_after(cluster, "CREATE TABLE numbers (n integer)", "INSERT INTO numbers VALUES (1)")
    saved = tmp_path / "saved"
    with streaming(saved, environment(folder)):
        await numbers_after(cluster, "INSERT INTO numbers VALUES (2)")
        moment = datetime.now(UTC)
        await numbers_after(cluster, "INSERT INTO numbers VALUES (3)")
        refused = command(folder, "restore", str(saved))
        assert (refused.returncode, "stop it first" in refused.stderr) == (1, True), refused.stderr
        cluster.stop()

    refused = command(folder, "restore", str(saved))
    assert (refused.returncode, "--replace" in refused.stderr) == (1, True), refused.stderr
    for words, numbers in (((), [1, 2, 3]), (("--to", moment.isoformat()), [1, 2])):
        done = command(folder, "restore", str(saved), "--replace", *words)
        assert done.returncode == 0, done.stderr
        with running(Cluster(folder, settings=THROWAWAY)) as restored:
            assert await numbers_after(restored) == numbers
    assert len(list(folder.glob("postgres.replaced-*"))) == 2


async def test_wal_that_the_server_no_longer_has_ends_the_stream(folder: Path, tmp_path: Path) -> None:
    """As after a restore. Otherwise pg_receivewal would ask for it without end. The new slot goes.

    So does a slot that the server does not have any more, as after a failover, and one whose WAL it removed.
    """
    saved = tmp_path / "saved"
    settings = {**THROWAWAY, "max_slot_wal_keep_size": "32MB"}
    with running(Cluster(folder, settings=settings)) as cluster:
        with streaming(saved, environment(folder)) as following:
            second = await asyncio.to_thread(command, folder, "backup", str(saved))
            assert (second.returncode, "Another `backup`" in second.stderr) == (1, True), second.stderr
            await execute(
                cluster.url,
                "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots",
                f"SELECT pg_drop_replication_slot('{SLOT}')",
            )
            assert await asyncio.to_thread(following.wait, 20) == 1
        await execute(cluster.url, f"SELECT pg_create_physical_replication_slot('{SLOT}', true)")
        for _ in range(5):
            await execute(
                cluster.url,
                "CREATE TABLE filling AS SELECT repeat('x', 7000) FROM generate_series(1, 5000)",
                "DROP TABLE filling",
                "SELECT pg_switch_wal()",
                "CHECKPOINT",
            )
        done = await asyncio.to_thread(command, folder, "backup", str(saved), "--follow")
        assert (done.returncode, "no longer has the WAL" in done.stderr) == (1, True), done.stderr
        assert await execute(cluster.url, "SELECT FROM pg_replication_slots") == []


@pytest.mark.parametrize(
    "message",
    [
        "ERROR:  requested WAL segment 000000010000000000000002 has already been removed",
        'ERROR:  replication slot "conversions_backup" does not exist',
        'ERROR:  can no longer access replication slot "conversions_backup"',  # since Postgres 18
        "ERROR:  requested starting point 0/5000000 on timeline 1 is not in this server's history",
    ],
)
def test_pg_receivewal_is_ended_when_it_would_ask_without_end(message: str) -> None:
    child = subprocess.Popen(
        ["sh", "-c", 'echo "$0" >&2; exec sleep 60', message], stderr=subprocess.PIPE, text=True
    )
    receiver = WalReceiver(child)
    assert (receiver.wait(20), receiver.lacks_wal) == (-signal.SIGINT, True)


def test_the_messages_of_the_stream_are_printed_during_the_base_backup(folder: Path, tmp_path: Path) -> None:
    """Otherwise pg_receivewal would block when the pipe is full: the base backup here begins only then."""
    programs, printed = tmp_path / "programs", tmp_path / "printed"
    programs.mkdir()
    notices = f"yes notice | head -n 20000 >&2; touch {printed}"
    before = {
        "pg_receivewal": f'case "$*" in *--synchronous*) {notices};; esac',
        "pg_basebackup": f"timeout 20 sh -c 'until [ -e {printed} ]; do sleep 0.1; done' || exit 1",
    }
    for name, script in before.items():
        own = program(name, 18)
        wrapper = programs / name
        wrapper.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && exec {own} --version\n{script}\nexec {own} "$@"\n'
        )
        wrapper.chmod(0o755)
    words = ["backup", str(tmp_path / "saved"), "--follow"]
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    errors = tmp_path / "errors"
    read, write = os.pipe()
    with running(Cluster(folder, settings=THROWAWAY)), errors.open("wb") as file, open(read) as output:
        with open(write, "wb"):
            following = fork_server.start(words, {**environment(folder), **path}, write, errors=file.fileno())
        assert "verified" in output.readline()
        assert "Streaming WAL" in output.readline()
        assert errors.read_text().count("notice\n") == 20_000
        following.send_signal(signal.SIGTERM)
        assert following.wait(60) == 0


async def test_a_base_backup_alone_can_be_restored_after_a_total_loss(folder: Path, tmp_path: Path) -> None:
    """The data directory and the notes beside it are gone."""
    saved = tmp_path / "saved"
    with running(Cluster(folder, settings=THROWAWAY)) as cluster:
        await numbers_after(cluster, "CREATE TABLE numbers (n integer)", "INSERT INTO numbers VALUES (1)")
        done = command(folder, "backup", str(saved))
        assert done.returncode == 0, done.stderr
    shutil.rmtree(folder)
    late = command(folder, "restore", str(saved), "--to", "2099-01-01T00:00:00Z")
    assert (late.returncode, "no WAL" in late.stderr) == (1, True)
    early = command(folder, "restore", str(saved), "--to", "2020-01-01T00:00:00Z")
    assert (early.returncode, "oldest base backup" in early.stderr) == (1, True)
    assert command(folder, "restore", str(saved)).returncode == 0
    with running(Cluster(folder, settings=THROWAWAY)) as restored:
        assert await numbers_after(restored) == [1]


async def test_the_role_of_backups_suffices(folder: Path, tmp_path: Path) -> None:
    """With the rules of the production example: no other setting, no key, and the time is recorded."""
    rules = tmp_path / "pg_hba.conf"
    shutil.copy(ROOT / "deploy" / "compose" / "pg_hba.conf", rules)
    rules.chmod(0o644)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    cluster = Cluster(folder, settings={**THROWAWAY, "hba_file": str(rules)})
    cluster.start()
    place = cluster.url.rpartition("@")[2]
    urls = {
        variable: f"postgresql+asyncpg://conversions_{name}:{name}-password@{place}"
        for name, variable in (
            ("api", "DATABASE_URL"),
            ("worker", "WORKER_DATABASE_URL"),
            ("backup", "BACKUP_DATABASE_URL"),
        )
    }
    saved, elsewhere = tmp_path / "saved", tmp_path / "elsewhere"

    def run(given: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        return fork_server.run(words, {**environment(elsewhere), **given})

    own = {"BACKUP_DATABASE_URL": urls["BACKUP_DATABASE_URL"]}
    connection = None
    try:
        for words in (["database-roles"], ["migrate"]):
            done = run({"MIGRATION_DATABASE_URL": cluster.url, **urls}, *words)
            assert done.returncode == 0, done.stderr
        shutil.rmtree(elsewhere, ignore_errors=True)
        with streaming(saved, {**environment(elsewhere), **own}):
            connection = await asyncpg.connect(cluster.url.replace("+asyncpg", ""))
            first = await connection.fetchval("SELECT verified_at FROM last_base_backup")
            assert first is not None
            first_segment = sorted((saved / "wal").iterdir())[0].name[:24]
            await connection.execute("SELECT pg_switch_wal()")
        assert not elsewhere.exists()  # no development keys were created

        # Its base backup is old now; `--keep-days` replaces it by a new one, with the WAL before that.
        [base] = saved.glob("base-*Z")
        base.rename(saved / "base-20260101T000000Z")
        done = run(own, "backup", str(saved), "--keep-days", "7")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        [newer] = saved.glob("base*")
        assert newer.name != "base-20260101T000000Z"
        assert not list((saved / "wal").glob(f"{first_segment}*"))
        assert await connection.fetchval("SELECT verified_at > $1 FROM last_base_backup", first)

        await connection.execute("REVOKE INSERT ON last_base_backup FROM conversions_backup")
        done = run(own, "backup", str(saved))
        assert (done.returncode, "was not recorded" in done.stderr) == (0, True), done.stderr
        assert len(list(saved.glob("base-*Z"))) == 2
    finally:
        if connection is not None:
            await connection.close()
        cluster.stop()


def test_what_a_remaining_base_backup_needs_is_not_deleted(tmp_path: Path) -> None:
    """The newest base backup remains, however old it is, and the WAL from its start, of any timeline."""
    for day, segment in ((1, "02"), (2, "05"), (3, "07")):
        base = tmp_path / f"base-202601{day:02}T000000Z"
        base.mkdir()
        (base / "backup_label").write_text(
            f"START WAL LOCATION: 0/{segment}000028 (file 0000000100000000000000{segment})\n"
        )
    (tmp_path / "wal").mkdir()
    for name in ("01", "02", "04", "05", "06", "07"):
        (tmp_path / "wal" / f"0000000100000000000000{name}").touch()
    for name in ("000000020000000000000008.partial", "00000002.history"):
        (tmp_path / "wal" / name).touch()

    def remaining() -> tuple[list[str], list[str]]:
        return (
            sorted(path.name[5:13] for path in tmp_path.glob("base-2*")),
            sorted(path.name[22:24] for path in (tmp_path / "wal").glob("00000001*")),
        )

    (tmp_path / "base-copy-20260101T000000Z").mkdir()  # named by an operator
    delete_old(tmp_path, datetime(2026, 1, 2, tzinfo=UTC))
    assert remaining() == (["20260102", "20260103"], ["05", "06", "07"])
    delete_old(tmp_path, datetime(2027, 1, 1, tzinfo=UTC))
    assert remaining() == (["20260103"], ["07"])
    assert len(list((tmp_path / "wal").glob("00000002*"))) == 2


_INSTALLED = Path("/usr/lib/postgresql")


@pytest.mark.parametrize("version", ["embedded", *sorted(path.name for path in _INSTALLED.glob("[0-9]*"))])
def test_each_version_is_backed_up_by_its_own_programs(tmp_path: Path, version: str) -> None:
    """pg_verifybackup of another version rejects a good backup, so the newest programs are wrong."""
    # Older versions, run for root by another account, look at the folders above theirs.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        binaries = None if version == "embedded" else _INSTALLED / version / "bin"
        with running(Cluster(folder, binaries, settings=THROWAWAY)):
            done = command(folder, "backup", str(tmp_path / "saved"))
    assert (done.returncode, "verified" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("earlier_slot", [False, True])
async def test_only_a_verified_backup_leaves_a_slot(folder: Path, tmp_path: Path, earlier_slot: bool) -> None:
    """A slot that no backup needs retains WAL until the disk is full; an earlier start's is needed."""
    settings = {**THROWAWAY, "max_wal_senders": "1"}  # a base backup needs two
    with running(Cluster(folder, settings=settings)) as cluster:
        connection = await asyncpg.connect(cluster.url.replace("+asyncpg", ""))
        if earlier_slot:
            await connection.execute(f"SELECT pg_create_physical_replication_slot('{SLOT}')")
        done = await asyncio.to_thread(command, folder, "backup", str(tmp_path / "saved"), "--follow")
        slots = await connection.fetch("SELECT slot_name FROM pg_replication_slots")
        await connection.close()
    assert (done.returncode, "max_wal_senders" in done.stderr) == (1, True), done.stderr
    assert [row["slot_name"] for row in slots] == ([SLOT] if earlier_slot else [])


def test_a_slot_that_cannot_be_dropped_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It retains WAL until the disk of the server is full."""
    for name in ("pg_receivewal", "pg_basebackup"):
        (tmp_path / name).write_text(
            '#!/bin/sh\ncase "$*" in --version) echo "PostgreSQL 99.1";; *-slot*--if-not*) ;; '
            "*) echo lost >&2; exit 1;; esac"
        )
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(CommandFailed, match="pg_basebackup failed: lost"):
        follow(tmp_path, BackupSource(99, False, {}), Settings.model_construct(), keep_days=None)
    assert f"Drop the slot {SLOT}, which retains WAL: pg_receivewal failed: lost" in capsys.readouterr().err


def test_a_program_of_another_version_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the version that is needed, and those that are there."""
    for name in ("pg_basebackup", "pg_verifybackup"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 99.1'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert program("pg_verifybackup", 99) == tmp_path / "pg_verifybackup"
    assert program("pg_verifybackup", 18).parent != tmp_path
    with pytest.raises(
        CommandFailed, match=r"of Postgres 98, .* \(found: version .*99.*postgresql-client-98"
    ):
        program("pg_verifybackup", 98)


def test_two_data_directories_moved_aside_in_one_second_both_remain(tmp_path: Path) -> None:
    """Their names contain the second; a rename onto the first one would fail."""
    for n in (1, 2):
        data = tmp_path / "postgres"
        data.mkdir()
        (data / f"file-{n}").touch()
        make_way(data)
    assert sorted(path.name for path in tmp_path.glob("postgres.replaced-*/*")) == ["file-1", "file-2"]


def test_a_server_that_starts_during_a_restore_keeps_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go on in the directory that is moved aside."""
    data, base = tmp_path / "postgres", tmp_path / "base-20260101T000000Z"
    for each in (data, base):
        each.mkdir()
    (base / "PG_VERSION").write_text("99")
    monkeypatch.setattr("app.commands.backup.give_to_server", lambda _: (data / "postmaster.pid").touch())
    asked = argparse.Namespace(folder=tmp_path, data_dir=data, to=None, replace=True)
    with pytest.raises(CommandFailed, match="stop it first"):
        restore(Settings(), asked)
    assert (data / "postmaster.pid").exists()


def test_the_password_is_in_the_environment_only() -> None:
    """An argument would show it in the process list; both servers of a pair are named."""
    named = connection_environment("postgresql+asyncpg://u:p%40ss@one:5433,two/d")
    assert named["PGPASSWORD"] == "p@ss"
    assert (named["PGHOST"], named["PGPORT"]) == ("one,two", "5433,5432")
    assert named["PGTARGETSESSIONATTRS"] == "read-write"


def test_tls_of_the_address_holds_for_backups_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a backup would accept any server, although every other connection verifies it."""
    monkeypatch.delenv("PGSSLMODE", raising=False)
    url = "postgresql+asyncpg://u:p@one/d?sslmode=verify-full&sslrootcert=%2Fca%20files%2Fca.pem&sslkey="
    named = connection_environment(url)
    assert (named["PGSSLMODE"], named["PGSSLROOTCERT"]) == ("verify-full", "/ca files/ca.pem")
    assert "PGSSLKEY" not in named
    assert "PGSSLMODE" not in connection_environment("postgresql+asyncpg://u:p@one/d")
    newer = connection_environment("postgresql://u:p@one/d?ssl_min_protocol_version=TLSv1.3&sslmode=require")
    assert newer["PGSSLMINPROTOCOLVERSION"] == "TLSv1.3"
    assert [requires_tls(each) for each in (named, newer, {}, {"PGSSLMODE": "prefer"})] == [
        True, True, False, False,
    ]  # fmt: skip


def test_tls_of_the_environment_holds_for_backups_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncpg reads these variables where the URL is silent; the URL wins."""
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", "/ca.pem")
    silent = connection_environment("postgresql+asyncpg://u:p@one/d")
    assert (silent["PGSSLMODE"], silent["PGSSLROOTCERT"]) == ("verify-full", "/ca.pem")
    assert connection_environment("postgresql+asyncpg://u:p@one/d?sslmode=require")["PGSSLMODE"] == "require"


@pytest.mark.parametrize(
    ("address", "hosts", "ports"),
    [
        ("u:p@[::1]:5433/d", "::1", "5433"),
        ("u:p@[2001:db8::1]/d", "2001:db8::1", "5432"),
        ("u:p@one,two:6000/d", "one,two", "5432,6000"),
        ("u:p@/d?host=/var/run/postgresql&port=5434", "/var/run/postgresql", "5434"),
        ("/d?host=db&user=u&password=p", "db", "5432"),
        ("/d?port=6543&user=u&password=p", "", "6543"),
        ("/d?user=u&password=p", "", "5432"),
    ],
)
def test_hosts_are_read_as_the_driver_reads_them(address: str, hosts: str, ports: str) -> None:
    """IPv6 addresses in brackets, and parts of the address as parameters."""
    named = connection_environment(f"postgresql+asyncpg://{address}")
    assert (named["PGHOST"], named["PGPORT"]) == (hosts, ports)
    assert (named["PGUSER"], named["PGPASSWORD"]) == ("u", "p")


@pytest.mark.parametrize("place", ["one:x", "one:70000000000x", "one,", ",one", "[::1", "[one]:5433,[two"])
def test_a_host_or_port_that_is_none_ends_a_backup_with_a_sentence(place: str) -> None:
    """Without the address, which contains a password."""
    with pytest.raises(CommandFailed) as failed:
        connection_environment(f"postgresql://u:secret@{place}/d")
    assert str(failed.value) == "The database URL names no valid host or port."


def test_a_server_of_others_is_restored_on_its_host(tmp_path: Path) -> None:
    """The command cannot write the data directory of another host."""
    environment_ = {**environment(tmp_path), "DATABASE_URL": "postgresql+asyncpg://u:p@db/d"}
    done = fork_server.run(["restore", str(tmp_path)], environment_)
    assert (done.returncode, "--data-dir" in done.stderr) == (2, True)
