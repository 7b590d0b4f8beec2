"""`doctor` on a production installation that is healthy, and on one with a single misconfiguration.

Each case changes the settings or the database of the healthy installation. The command must report this
change and nothing else, with what to do about it.
"""

import asyncio
import base64
import secrets
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from threading import Thread
from typing import Self
from urllib.parse import urlsplit

import pytest

from app import cli
from app.commands import doctor_facts
from app.crypto import Vault
from app.setting_types import named_keys
from app.settings import Settings
from app.store.database import backups, balance, migrate, privileges
from app.store.encryption import keep_secret
from dev.postgres.cluster import DURABLE, THROWAWAY, Cluster
from dev.postgres.postmaster import free_port
from tests.commands.tls import Certificates, tls_front
from tests.databases import ROLES, connected, execute

pytestmark = pytest.mark.process

PASSWORD = "of-the-tests"
KEY = base64.b64encode(secrets.token_bytes(32)).decode()
OTHER_KEY = base64.b64encode(secrets.token_bytes(32)).decode()
TEMPLATE, CASE = "healthy", "misconfigured"
SLOT = f"replication slot {backups.SLOT}"


@dataclass(frozen=True, slots=True)
class Case:
    """A misconfiguration, and the line that reports it: its subject and what else it must contain.

    `settings` are variables; `{owner}`, `{api}` and `{worker}` in them stand for database URLs. `database`
    has statements of the owner. `code` is the exit code: 0 of a warning, 1 of a failure, 2 of a setting that
    the program refuses.
    """

    name: str
    subject: str
    words: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    database: Sequence[str] = ()
    code: int = 1


_LACKS_KEY = "INSERT INTO secrets VALUES ('another', '\\x036f6c64'::bytea || decode(repeat('00', 40), 'hex'))"
_DROP = "SELECT drop_day_partitions((now() AT TIME ZONE 'UTC')::date + n) FROM generate_series({}, 7) n"
_RETAIN = (
    f"SELECT pg_create_physical_replication_slot('{backups.SLOT}', true)",
    "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000))",
)

CASES = (
    # Settings that the program refuses: the sentence is about one setting. Others: test_settings.py.
    Case("a retention shorter than events wait", "BATCH_RETENTION_DAYS", ["22"],
         {"BATCH_RETENTION_DAYS": "7"}, code=2),
    Case("sign-in without roles", "OIDC_ROLES", ["is required"],
         {"OIDC_ISSUER": "https://id.example.com", "OIDC_CLIENT_ID": "console"}, code=2),
    Case("sign-in without a client", "OIDC_CLIENT_ID", ["together with OIDC_ISSUER"],
         {"OIDC_ISSUER": "https://id.example.com", "OIDC_ROLES": "admin=ops"}, code=2),
    Case("no way to sign in", "CONSOLE_KEY_SIGN_IN", ["needs OIDC_ISSUER"],
         {"CONSOLE_KEY_SIGN_IN": "false"}, code=2),
    Case("a webhook without TLS", "NOTIFY_WEBHOOKS", ["ops", "https://"],
         {"NOTIFY_WEBHOOKS": "ops=http://hooks.example.com"}, code=2),
    Case("mail without a server", "NOTIFY_EMAILS", ["SMTP_URL"],
         {"NOTIFY_EMAILS": "ops=ops@example.com"}, code=2),
    # Settings that do not fit the installation.
    Case("development", "APP_ENV", ["do not send real"], {"APP_ENV": "development"}, code=0),
    Case("a bootstrap key that was left", "BOOTSTRAP_ADMIN_KEY", ["fewer scopes", "unset it"],
         {"BOOTSTRAP_ADMIN_KEY": secrets.token_urlsafe(32)}, code=0),
    Case("no secret of Amazon's application", "Amazon", ["set AMAZON_CLIENT_ID"],
         {"AMAZON_CLIENT_SECRET": ""}),
    Case("a local address", "PUBLIC_URL", ["browsers cannot reach", "set the"], {"PUBLIC_URL": "https://localhost"}),
    Case("another key of the same name", "ENCRYPTION_KEYS", ["set the keys that encrypted it"],
         {"ENCRYPTION_KEYS": f"k1:{OTHER_KEY}"}),
    Case("a password of the API that is wrong", "database", ["password", "DATABASE_URL"],
         {"DATABASE_URL": "{api}"}),
    Case("a database that does not exist", "database", ["does not exist", "DATABASE_URL"],
         {"DATABASE_URL": "{nowhere}"}),
    Case("a port at which nothing listens", "database", ["cannot be reached", "127.0.0.1:", "DATABASE_URL"],
         {"DATABASE_URL": "{silent}"}),
    Case("a password of the workers that is wrong", "database sessions",
         ["workers", "password", "WORKER_DATABASE_URL"],
         {"WORKER_DATABASE_URL": "{worker}"}),
    Case("the owner's URL for the API", "database role", ["is a superuser", "database-roles"],
         {"DATABASE_URL": "{owner}"}, code=0),
    Case("too many processes", "max_connections", ["108", "raise it"],
         {"API_PROCESSES": "3", "WORKER_PROCESSES": "2"}, code=0),
    Case("a server without TLS", "database", ["offers no TLS", "ssl on"],
         {"DATABASE_URL": "{tls}"}),
    Case("a host that does not exist", "database", ["postgres.invalid", "DATABASE_URL"],
         {"DATABASE_URL": "postgresql+asyncpg://u:p@postgres.invalid/d"}),
    # The database.
    Case("a version of another schema", "migrations", ["run migrate"],
         database=["UPDATE alembic_version SET version_num = '0001'"]),
    Case("no partitions for the next days", "partitions", ["worker is running"],
         database=["{drop_partitions}"]),
    Case("no partition for today", "partitions", ["start a worker"],
         database=["{drop_every_partition}"], code=0),
    Case("an API that owns the audit", "database role", ["owns the tables", "database-roles"],
         database=[f"ALTER TABLE audit OWNER TO {ROLES.api}"], code=0),
    Case("a table that the API may not read", "database sessions", ["SELECT on sign_ins", "run migrate"],
         database=[f"REVOKE SELECT ON sign_ins FROM {ROLES.api}"]),
    Case("a privilege that the API lacks", "database sessions", ["INSERT on audit", "run migrate"],
         database=[f"REVOKE ALL ON audit FROM {ROLES.api}", f"GRANT SELECT ON audit TO {ROLES.api}"]),
    Case("a table that workers may not change", "database sessions", ["DELETE on exceptions", "run migrate"],
         database=[f"REVOKE DELETE ON exceptions FROM {ROLES.worker}"]),
    Case("a sequence that workers may not use", "database sessions", ["USAGE on attempt_ids", "run migrate"],
         database=[f"REVOKE USAGE ON attempt_ids FROM {ROLES.worker}"]),
    Case("organisations that are not separated", "row-level security",
         ["destinations", "ENABLE ROW LEVEL SECURITY"],
         database=["ALTER TABLE destinations DISABLE ROW LEVEL SECURITY"]),
    Case("a key that is gone", "ENCRYPTION_KEYS", ["old", "add it again"], database=[_LACKS_KEY]),
    Case("a damaged value", "damaged rows", ["secrets.sealed", "restore a backup"],
         database=["INSERT INTO secrets VALUES ('another', '')"]),
    Case("events that are not counted", "balance", ["3 events", "Run `balance`"],
         database=["UPDATE balance_checks SET imbalance = 3, mismatches = "
                   """'[{"destination_id": "dst_1", "day": null, "kind": "dead_count", "events": 3}]'"""]),
    Case("no worker for a day", "balance", ["worker is running"],
         database=["UPDATE balance_checks SET finished_at = now() - interval '1 day'"], code=0),
    Case("a key that was used too often", "ENCRYPTION_KEYS", ["rotate to a new key"],
         database=["INSERT INTO encryption_keys VALUES ('k1', 1)", "SELECT setval('batch_ids', 3000000000)"],
         code=0),
    Case("no backup for two days", "base backup", ["runs every day"],
         database=["UPDATE last_base_backup SET verified_at = now() - interval '49 hours'"], code=0),
    Case("no backup at all", "base backup", ["run `backup`"],
         database=["DELETE FROM last_base_backup"], code=0),
    Case("no backup receives the WAL", SLOT, ["start `backup --follow`", "drop the slot"],
         database=_RETAIN, code=0),
    Case("channels of other processes", "notification channels", ["ops", "NOTIFY_"],
         database=["{channel}"], code=0),
    Case("a database without writes", "database", ["target_session_attrs=read-write"],
         database=[f"ALTER DATABASE {CASE} SET default_transaction_read_only = on"]),
)  # fmt: skip


class Installation:
    """A durable cluster with a healthy database, and the database of the current case as its copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = Cluster(folder, settings={**DURABLE, "shared_buffers": "32MB", "wal_level": "replica"})
        self.cluster.start()
        self.execute("postgres", f"CREATE DATABASE {TEMPLATE}")
        for role in ROLES.distinct:
            creation = privileges.creation(role, replicates=role == ROLES.backup)
            self.execute("postgres", f"{creation} PASSWORD '{PASSWORD}'")
        migrate.upgrade(self.cluster.url_of(TEMPLATE), roles=ROLES)
        asyncio.run(self._complete())

    async def _complete(self) -> None:
        """Leave what processes, a balance check and a backup leave."""
        vault = Vault(named_keys(f"k1:{KEY}"))
        async with connected(self.cluster.url_of(TEMPLATE)) as connection:
            await keep_secret(connection, vault, "content_pepper", secrets.token_bytes(32))
            await balance.finish(connection, imbalance=0, batches=0, mismatches=[])
            await backups.note_base(connection)

    def execute(self, database: str, *statements: str) -> None:
        asyncio.run(execute(self.cluster.url_of(database), *statements))

    def url(self, role: str | None, database: str = CASE, password: str = PASSWORD) -> str:
        place = urlsplit(self.cluster.url).netloc.rpartition("@")[2]
        return f"postgresql+asyncpg://{role}:{password}@{place}/{database}"

    def settings(self, database: str = CASE) -> dict[str, str]:
        """Return the variables of the healthy installation."""
        return {
            "APP_ENV": "production",
            "DATABASE_URL": self.url(ROLES.api, database),
            "WORKER_DATABASE_URL": self.url(ROLES.worker, database),
            "ENCRYPTION_KEYS": f"k1:{KEY}",
            "PUBLIC_URL": "https://events.example.com",
            "AMAZON_CLIENT_ID": "client",
            "AMAZON_CLIENT_SECRET": "secret",
        }

    @contextmanager
    def prepared(self, case: Case) -> Iterator[dict[str, str]]:
        """Create the database of a case and change it; yield the variables.

        The command changes nothing, so that cases of settings share the healthy database.
        """
        database = CASE if case.database else TEMPLATE
        replaced = {
            "{api}": self.url(ROLES.api, database, "wrong"),
            "{worker}": self.url(ROLES.worker, database, "wrong"),
            "{owner}": self.cluster.url_of(database),
            "{nowhere}": self.url(ROLES.api, "nowhere"),
            "{silent}": f"postgresql+asyncpg://u:{PASSWORD}@127.0.0.1:{free_port()}/d",
            "{tls}": self.url(ROLES.api, database) + "?sslmode=require",
            "{drop_partitions}": _DROP.format(1),
            "{drop_every_partition}": _DROP.format(0),
            "{channel}": "INSERT INTO notification_channels (organisation_id, name, declared_at) "
            "VALUES ('default', 'ops', now())",
        }  # fmt: skip
        given = {name: replaced.get(value, value) for name, value in case.settings.items()}
        if not case.database:
            yield self.settings(database) | given
            return
        self.execute("postgres", f"CREATE DATABASE {CASE} TEMPLATE {TEMPLATE}")
        try:
            self.execute(CASE, *(replaced.get(each, each) for each in case.database))
            yield self.settings(database) | given
        finally:
            self.execute("postgres", f"DROP DATABASE {CASE} WITH (FORCE)")
            drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active"
            self.execute("postgres", drop)


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        installed = Installation(folder)
        yield installed
        installed.cluster.stop()


Doctor = Callable[[Mapping[str, str]], tuple[int, list[str]]]


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Doctor:
    """Return a function that runs the command and returns its exit code and the lines that are not `ok`."""

    def run(settings: Mapping[str, str]) -> tuple[int, list[str]]:
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv("DATA_DIR", str(tmp_path))
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        code = cli.main(["doctor"])
        output = capsys.readouterr()
        lines = [line for line in output.out.splitlines() if not line.startswith("ok ")]
        refused = [line.strip() for line in output.err.splitlines() if line.startswith("  ")]
        return code, [line[9:] for line in lines] + refused

    return run


def test_a_healthy_installation_has_no_finding(installation: Installation, doctor: Doctor) -> None:
    """Each other case begins with this one."""
    with installation.prepared(Case("healthy", "", [])) as settings:
        assert doctor(settings) == (0, [])
        # A container has the URL of its own role alone.
        assert doctor({**settings, "WORKER_DATABASE_URL": ""}) == (0, [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([], "lacks nothing that workers need: run doctor where the API runs"),
        ([f"REVOKE DELETE ON exceptions FROM {ROLES.worker}"], "lack privileges (DELETE on exceptions)"),
    ],
    ids=["complete", "incomplete"],
)
def test_a_container_of_a_worker_checks_only_its_privileges(
    installation: Installation, doctor: Doctor, changes: Sequence[str], words: str
) -> None:
    """Its role may not read what the other checks judge, and no other container has its URL."""
    with installation.prepared(Case("worker", "", [], database=changes)) as settings:
        worker = {"DATABASE_URL": settings["WORKER_DATABASE_URL"], "WORKER_DATABASE_URL": ""}
        code, lines = doctor({**settings, **worker})
    assert (code, len(lines)) == (1, 1), lines
    assert words in lines[0]


@pytest.mark.parametrize("seconds", [-30, 30])
def test_a_clock_that_is_off(
    installation: Installation, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """In either direction."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=seconds)

    monkeypatch.setattr(doctor_facts, "datetime", Wrong)
    with installation.prepared(Case("", "", [])) as settings:
        code, lines = doctor(settings)
    assert (code, len(lines)) == (0, 1), lines
    assert lines[0].startswith(f"clock differs from the database's by {seconds:+} s")
    assert "synchronise" in lines[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_misconfiguration_is_named_with_its_remedy(
    installation: Installation, doctor: Doctor, case: Case
) -> None:
    """One line, about the right subject; nothing else is reported."""
    with installation.prepared(case) as settings:
        code, lines = doctor(settings)
    assert (code, len(lines)) == (case.code, 1), lines
    assert lines[0].startswith((f"{case.subject} ", f"{case.subject}:")), lines
    assert [word for word in case.words if word not in lines[0]] == [], lines
    assert PASSWORD not in lines[0]
    assert KEY not in lines[0]


@pytest.mark.parametrize(
    ("days", "words"),
    [(-1, ["expired"]), (1, ["unable to get local issuer"])],
    ids=["expired", "of another authority"],
)
def test_a_certificate_that_is_not_accepted(
    installation: Installation, doctor: Doctor, tmp_path: Path, days: int, words: list[str]
) -> None:
    """An expired certificate and an unknown authority differ, because their remedies do."""
    served = Certificates.create(tmp_path / "served", days=days)
    trusted = served if days < 0 else Certificates.create(tmp_path / "other")
    with ExitStack() as stack:
        settings = stack.enter_context(installation.prepared(Case("", "", [])))
        url, _ = stack.enter_context(tls_front(served, settings["DATABASE_URL"]))
        code, lines = doctor({**settings, "DATABASE_URL": f"{url}?{trusted.parameters()}"})
    assert code == 1
    assert len(lines) == 1, lines
    assert "certificate" in lines[0]
    assert [word for word in [*words, "sslrootcert"] if word not in lines[0]] == [], lines


def test_a_pooler(installation: Installation, doctor: Doctor) -> None:
    """As PgBouncer does without `ignore_startup_parameters`, it refuses the settings of every session."""

    def refuse(pooler: socket.socket) -> None:
        while True:
            try:
                client, _ = pooler.accept()
            except OSError:  # it is shut down
                return
            with client:
                while client.recv(4096)[4:8] == struct.pack("!i", 80877103):
                    client.sendall(b"N")  # no TLS
                text = b"SFATAL\0C08P01\0Munsupported startup parameter: synchronous_commit\0\0"
                client.sendall(b"E" + struct.pack("!i", len(text) + 4) + text)

    with socket.create_server(("127.0.0.1", 0)) as pooler:
        thread = Thread(target=refuse, args=(pooler,), daemon=True)
        thread.start()
        place = f"127.0.0.1:{pooler.getsockname()[1]}"
        settings = {**installation.settings(), "DATABASE_URL": f"postgresql+asyncpg://u:p@{place}/d"}
        code, lines = doctor(settings)
        pooler.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert (code, len(lines)) == (1, 1), lines
    assert "not through a pooler such as PgBouncer" in lines[0]


def test_a_server_that_is_not_durable(installation: Installation, doctor: Doctor) -> None:
    """The command line of the server has both settings."""
    installation.cluster.stop()
    careless = Cluster(installation.folder, settings=THROWAWAY)
    careless.start()
    try:
        code, lines = doctor(installation.settings(TEMPLATE))
    finally:
        careless.stop()
        installation.cluster.start()
    assert (code, [line.split()[0] for line in lines]) == (1, ["fsync", "full_page_writes"])
    assert all("set it to on" in line for line in lines)
