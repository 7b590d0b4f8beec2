"""Sessions of the database: processes wait for it, verify its TLS, and depend on no default of it."""

import asyncio
import json
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from app.commands.postgres_programs import has_tls
from app.domain.ids import OrganisationId
from app.processes.resources import _reporter, open_resources
from app.store.database import schema_revision, servers
from app.store.database.migrate import configured, upgrade
from app.store.database.servers import Servers
from app.store.organisations.scope import EVERY, scoped_pool
from app.telemetry import VERSION
from dev.child_processes import RESTARTS, Children
from dev.launcher import _watch
from dev.postgres.cluster import THROWAWAY, Cluster, EmbeddedError
from dev.postgres.postmaster import free_port
from tests.commands.test_backup import streaming
from tests.commands.tls import Certificates, TlsFront, tls_front
from tests.databases import execute, running
from tests.event_loop import turns
from tests.pipeline import fork_server
from tests.pipeline.processes import ADMIN, Product
from tests.pipeline.tcp_proxy import Proxy
from tests.pipeline.world import event, eventually, make_world, settings_of
from tests.tables import cases
from tests.waiting import wait_until

pytestmark = pytest.mark.process

# The programs of a Postgres with TLS, server and client: the embedded ones are built without it.
_CHOSEN = os.environ.get("TEST_TLS_POSTGRES_BIN")
TLS_BUILD = next(
    (
        folder
        for folder in ([Path(_CHOSEN)] if _CHOSEN else sorted(Path("/usr/lib/postgresql").glob("*/bin")))
        if (folder / "postgres").exists() and (folder / "pg_isready").exists() and has_tls(folder / "psql")
    ),
    None,
)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates.create(tmp_path / "right")


@pytest.fixture
def behind_tls(certificates: Certificates, database_url: str) -> Iterator[tuple[str, TlsFront]]:
    with tls_front(certificates, database_url) as front:
        yield front


async def test_api_and_worker_run_with_verify_full(
    behind_tls: tuple[str, TlsFront], certificates: Certificates, database_url: str, tmp_path: Path
) -> None:
    """Migrations and doctor, then an event that the worker claims: all connections over TLS."""
    url, front = behind_tls
    async with make_world(database_url) as world:
        destination = await world.destination()
    product = Product(f"{url}?{certificates.parameters()}", tmp_path / "log.txt")
    try:
        migrated = await asyncio.to_thread(product.run, "migrate")
        assert migrated.returncode == 0, migrated.stderr
        doctor = await asyncio.to_thread(product.run, "doctor")
        assert "cannot be reached" not in doctor.stdout
        assert "Traceback" not in doctor.stderr
        product.serve("api")
        product.work("worker")
        await asyncio.to_thread(product.ready, product.api + "/health/live")
        async with httpx.AsyncClient(timeout=20, headers={"X-Api-Key": ADMIN}) as client:
            posted = await client.post(
                f"{product.api}/events", json={"destination_id": destination, **event(1)}
            )
            assert posted.status_code == 202, posted.text

            async def claimed() -> bool:
                stats = await client.get(f"{product.api}/destinations/{destination}/stats")
                return bool(stats.json()["counts"]["retrying"] == 1)  # there is no Amazon here

            await eventually(claimed, seconds=60, every=0.2)
    finally:
        await asyncio.to_thread(product.close)
    assert front.over_tls >= 4
    assert front.refused == 0


@cases(
    ("parameters", "words", "commands"),
    {
        "not trusted": (None, "certificate", ("serve", "work", "migrate", "doctor", "keys list")),
        "no file": ("sslmode=verify-full&sslrootcert=/none.pem", "sslrootcert names a file", ("work",)),
        "without TLS": ("sslmode=disable", "no encryption", ("serve", "migrate")),
    },
)
async def test_a_connection_that_is_refused_ends_every_command_with_a_sentence(
    behind_tls: tuple[str, TlsFront],
    tmp_path: Path,
    parameters: str | None,
    words: str,
    commands: tuple[str, ...],
) -> None:
    """At once: waiting does not change a certificate. No traceback and no password."""
    url, _ = behind_tls
    parameters = parameters or Certificates.create(tmp_path / "wrong").parameters()
    with closing(Product(f"{url}?{parameters}", tmp_path / "log.txt")) as product:
        product.listener.close()  # `serve` opens the port
        password = url.partition("@")[0].rpartition(":")[2]
        for command in commands:
            ended = await asyncio.to_thread(product.run, *command.split())
            output = ended.stdout + ended.stderr
            assert ended.returncode in (1, 2), (command, output)
            assert words in output, (command, output)
            assert "Traceback" not in output, command
            assert password not in output, command


class TestBackups:
    """Base backup and WAL of a real server that only accepts TLS."""

    @pytest.fixture
    def cluster(self, certificates: Certificates) -> Iterator[Cluster]:
        if TLS_BUILD is None:
            pytest.skip("needs a Postgres that was built with TLS (Debian: postgresql)")
        # Older versions, run for root by another account, look at the folders above.
        folder = Path(tempfile.mkdtemp(prefix="conversions-tls-"))
        folder.chmod(0o755)
        with running(Cluster(folder, TLS_BUILD, settings=THROWAWAY)):
            pass
        owner = (folder / "postgres").stat()
        for file in (certificates.certificate, certificates.key):
            copy = Path(shutil.copy(file, folder / "postgres"))
            os.chown(copy, owner.st_uid, owner.st_gid)
            copy.chmod(0o600)
        rules = folder / "postgres" / "pg_hba.conf"
        rules.write_text(
            "hostssl all all 127.0.0.1/32 scram-sha-256\nhostssl replication all 127.0.0.1/32 scram-sha-256\n"
        )
        with_tls = {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
        with running(Cluster(folder, TLS_BUILD, settings={**THROWAWAY, **with_tls})) as cluster:
            yield cluster
        shutil.rmtree(folder, ignore_errors=True)

    def environment(self, cluster: Cluster, folder: Path, parameters: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {
            **kept,
            "PATH": f"{TLS_BUILD}:{os.environ['PATH']}",
            "DATABASE_URL": f"{cluster.url}?{parameters}",
            "ENCRYPTION_KEYS": "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            "DATA_DIR": str(folder.parent / "dev"),
        }

    @pytest.mark.parametrize("mode", ["require", "verify-full"])
    def test_run_over_tls(
        self, cluster: Cluster, certificates: Certificates, tmp_path: Path, mode: str
    ) -> None:
        """By programs that have it, although newer ones without it are installed. So does the stream."""
        saved = tmp_path / "saved"
        with streaming(saved, self.environment(cluster, saved, certificates.parameters(mode))):
            pass
        (base,) = saved.glob("base-*")
        assert (base / "PG_VERSION").exists()
        assert list((saved / "wal").iterdir())

    def test_of_a_server_that_is_not_trusted_are_refused(self, cluster: Cluster, tmp_path: Path) -> None:
        """In one sentence, and nothing is written."""
        wrong = Certificates.create(tmp_path / "wrong")
        environment = self.environment(cluster, tmp_path / "saved", wrong.parameters())
        refused = fork_server.run(["backup", str(tmp_path / "saved")], environment)
        assert refused.returncode == 1
        assert "certificate of the server is not accepted" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert not list((tmp_path / "saved").glob("base-*"))


HOSTILE = {
    "default_transaction_isolation": "repeatable read",
    "synchronous_commit": "off",
    "timezone": "Asia/Tokyo",
    "statement_timeout": "0",
}
WANTED = {
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "statement_timeout": "30s",
}


async def test_no_default_of_the_database_reaches_a_session(database_url: str) -> None:
    """A flush that looked before it held its lock would find keys free that are not."""
    database = database_url.rpartition("/")[2]
    alter = f'ALTER DATABASE "{database}" SET'
    await execute(database_url, *(f"{alter} {name} = '{value}'" for name, value in HOSTILE.items()))
    async with open_resources(settings_of(database_url), role="api", pool_size=1) as resources:
        own = await resources.connect()
        async with resources.pool.acquire() as pooled, resources.engine_of(EVERY).connect() as engine:
            for name, wanted in WANTED.items():
                found = [await one.fetchval(f"SHOW {name}") for one in (own, pooled)]
                assert [*found, await engine.scalar(text(f"SHOW {name}"))] == [wanted] * 3, name
        await own.close()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """A proxy between the tests and their database."""
    made = Proxy(urlsplit(database_url).port or 5432)
    await made.start()
    yield made
    await made.close()


async def test_a_silent_connection_ends_the_others_and_all_come_back(database_url: str, proxy: Proxy) -> None:
    """Pooled, own and of the engine, also those that are idle; new connections pass."""
    settings = settings_of(proxy.address(database_url))
    async with open_resources(settings, role="api", pool_size=2) as resources:
        own, idle = await resources.connect(), await resources.connect()
        async with resources.engine_of(EVERY).connect() as engine:
            raw = (await engine.get_raw_connection()).driver_connection
            assert isinstance(raw, asyncpg.Connection)
            pooled = await resources.pool.acquire()
            within = pooled._con  # the pool takes the lent one back when it is closed
            assert proxy.stall_one(await own.fetchval("SELECT inet_client_port()"))
            with pytest.raises(TimeoutError):
                await own.fetchval("SELECT 1", timeout=0.2)
            assert [one.is_closed() for one in (own, idle, within, raw)] == [True] * 4
            await resources.pool.release(pooled)
        async with asyncio.timeout(10):
            assert await resources.pool.fetchval("SELECT 1") == 1
            assert await (await resources.connect()).fetchval("SELECT 1") == 1
            async with resources.engine_of(EVERY).connect() as engine:
                assert await engine.scalar(text("SELECT 1")) == 1
        resources.servers.end_all()


async def test_a_silent_server_does_not_delay_the_end_of_a_process(database_url: str, proxy: Proxy) -> None:
    """The driver waits until the server ends the session, which a frozen one never does."""
    dsn = proxy.address(database_url).replace("+asyncpg", "")
    idle, busy = [await Servers().connect(dsn, timeout=5) for _ in range(2)]
    ports = [await each.fetchval("SELECT inet_client_port()") for each in (idle, busy)]
    assert all(proxy.stall_one(port) for port in ports)
    statement = asyncio.create_task(busy.execute("SELECT 1"))
    await turns()
    statement.cancel()
    async with asyncio.timeout(20):
        await asyncio.gather(idle.close(), busy.close())
    assert idle.is_closed()
    assert busy.is_closed()


@pytest.mark.parametrize("number", ["1", "$1"])
@pytest.mark.parametrize("method", ["execute", "fetch", "fetchrow", "fetchval"])
async def test_every_way_to_run_a_statement_notices_silence(
    database_url: str, owner: asyncpg.Connection, method: str, number: str
) -> None:
    """With and without arguments, which the driver runs in different ways."""
    dsn = database_url.replace("+asyncpg", "")
    await owner.execute("SELECT pg_advisory_lock(1)")
    connection = await Servers().connect(dsn, timeout=5, command_timeout=0.2)
    with pytest.raises(TimeoutError):
        arguments = [1] if number == "$1" else []
        await getattr(connection, method)(f"SELECT pg_advisory_lock({number})", *arguments)
    assert connection.is_closed()


async def test_a_caller_that_is_cancelled_leaves_its_organisation_on_no_connection(
    database_url: str, proxy: Proxy, owner: asyncpg.Connection
) -> None:
    """The server has set it, and its answer is on the way: the next user acts for every organisation."""
    settings = settings_of(proxy.address(database_url))
    async with open_resources(settings, role="api", pool_size=1) as resources:

        async def act() -> None:
            async with scoped_pool(resources.pool, OrganisationId("acme")).acquire():
                pass

        await act()  # from now on, the driver has the statement prepared
        proxy.latency = 0.3
        acting = asyncio.create_task(act())
        set_it = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%set_config($1%'"
        await eventually(
            lambda: owner.fetchval(f"SELECT state = 'idle' {set_it} AND pid <> pg_backend_pid()")
        )
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
        proxy.latency = 0.0
        assert await resources.pool.fetchval("SELECT acting_organisation()") == EVERY


async def test_each_connection_notices_when_the_other_end_is_gone(database_url: str) -> None:
    """On both ends: the client's socket, and the server's settings, as the server reads them back."""
    async with open_resources(settings_of(database_url), role="api", pool_size=1) as resources:
        own = await resources.connect()
        async with resources.pool.acquire() as pooled, resources.engine_of(EVERY).connect() as engine:
            raw = (await engine.get_raw_connection()).driver_connection
            for one in (own, pooled, raw):
                held = one._transport.get_extra_info("socket")
                options = [
                    held.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    held.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                    held.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                    held.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                    held.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                ]
                assert options == [1, 10, 5, 3, 20_000]
                for name, wanted in servers.SERVER_SETTINGS.items():
                    assert await one.fetchval(f"SHOW {name}") == wanted, name
                assert one._config.command_timeout == servers.COMMAND_TIMEOUT_S
        await own.close()


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
    report = _reporter("postgresql://role:secret@one:1,two:2/d", lambda: now[0])

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
