"""A database that requires TLS: API, worker and commands verify it, or say in a sentence why not."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from app.commands.postgres_programs import has_tls
from dev.postgres.cluster import THROWAWAY, Cluster
from tests.commands.tls import Certificates, TlsFront, tls_front
from tests.databases import running
from tests.pipeline import fork_server
from tests.pipeline.processes import ADMIN, Product
from tests.pipeline.world import event, eventually, make_world
from tests.tables import cases

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

    def backup(
        self, cluster: Cluster, folder: Path, parameters: str, *words: str
    ) -> subprocess.CompletedProcess[str]:
        return fork_server.run(["backup", str(folder), *words], self.environment(cluster, folder, parameters))

    def environment(self, cluster: Cluster, folder: Path, parameters: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {
            **kept,
            "PATH": f"{TLS_BUILD}:{os.environ['PATH']}",
            "DATABASE_URL": f"{cluster.url}?{parameters}",
            "ENCRYPTION_KEYS": "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            "DATA_DIR": str(folder.parent / "dev"),
        }

    def test_backups_run_over_tls(self, cluster: Cluster, certificates: Certificates, tmp_path: Path) -> None:
        """By programs that have it, although newer ones without it are installed."""
        saved = tmp_path / "saved"
        done = self.backup(cluster, saved, certificates.parameters("require"))
        assert done.returncode == 0, done.stderr
        assert "verified" in done.stdout
        (base,) = saved.glob("base-*")
        assert (base / "PG_VERSION").exists()

    def test_follow_the_wal_over_tls(
        self, cluster: Cluster, certificates: Certificates, tmp_path: Path
    ) -> None:
        saved = tmp_path / "saved"
        environment = self.environment(cluster, saved, certificates.parameters())
        following, output = fork_server.piped(["backup", str(saved), "--follow"], environment)
        try:
            assert "verified" in output.readline()
            assert "Streaming WAL" in output.readline()
        finally:
            following.send_signal(signal.SIGTERM)
            following.wait(60)
            output.close()
        assert list((saved / "wal").iterdir())

    def test_of_a_server_that_is_not_trusted_are_refused(self, cluster: Cluster, tmp_path: Path) -> None:
        """In one sentence, and nothing is written."""
        wrong = Certificates.create(tmp_path / "wrong")
        refused = self.backup(cluster, tmp_path / "saved", wrong.parameters())
        assert refused.returncode == 1
        assert "certificate of the server is not accepted" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert not list((tmp_path / "saved").glob("base-*"))
