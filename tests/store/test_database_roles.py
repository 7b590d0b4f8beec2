"""The roles of API and workers can do what their statements need, and Postgres refuses everything else."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from app.store.database import migrate, privileges, schema_revision
from app.store.database.partitions import create_ahead
from app.store.database.privileges import SEQUENCES, TABLES, RoleNames, scram_verifier
from app.store.organisations.scope import EVERY, SETTING
from tests.databases import ROLES, acting_as, connected
from tests.pipeline import fork_server

DDL = (
    "CREATE TABLE mine (id integer)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE ROLE mine",
    "CREATE EXTENSION hstore",
    "ALTER TABLE audit DISABLE TRIGGER ALL",
    "ALTER TABLE audit ADD COLUMN note text",
    "ALTER TABLE destinations DISABLE ROW LEVEL SECURITY",
    "CREATE OR REPLACE FUNCTION audit_seal() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "CREATE TRIGGER mine AFTER INSERT ON audit EXECUTE FUNCTION refuse_change('x')",
    "CREATE INDEX mine ON audit (actor)",
    "CREATE TABLE mine PARTITION OF ledger FOR VALUES IN (900)",
    "DROP TABLE audit",
    "DROP TABLE ledger_g1",
    "GRANT test_worker TO CURRENT_USER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "SET session_replication_role = replica",
    "COPY audit TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/hostname')",
)
VERBS = {
    "SELECT": "SELECT FROM {}",
    "INSERT": "INSERT INTO {} DEFAULT VALUES",
    "UPDATE": "UPDATE {} SET {} = DEFAULT",
    "DELETE": "DELETE FROM {}",
    "TRUNCATE": "TRUNCATE {}",
}
API_ONLY = (
    "SELECT digest FROM api_keys",
    "SELECT count(*) FROM api_keys",
    "SELECT key_digest FROM console_sessions",
    "SELECT code_verifier FROM oauth_states",
    "SELECT actor FROM audit",
    "SELECT draft FROM mappings",
    "INSERT INTO audit (actor, action, subject) VALUES ('a', 'b', 'c')",
    "UPDATE destinations SET advertiser_id = '1'",
    "UPDATE destinations SET paused = false",
    "INSERT INTO ledger VALUES (1, '', '', 1, 1)",
    "SELECT nextval('batch_ids')",
    "CREATE TEMPORARY TABLE mine (id integer)",
)
WORKER_ONLY = (
    "UPDATE attempts SET outcome = 'answered'",
    "UPDATE batches SET content = ''",
    "UPDATE lanes SET owner = 'me'",
    "UPDATE erasures SET finished_at = now(), sealed = NULL",
    "DELETE FROM exceptions",
    "INSERT INTO ledger_generations (generation) VALUES (9)",
    "SELECT nextval('attempt_ids')",
    "SELECT create_day_partitions(current_date)",
    "SELECT drop_day_partitions(current_date)",
)
API_FORBIDDEN = (
    "UPDATE audit SET actor = 'somebody else'",
    "UPDATE audit SET hash = NULL",
    "DELETE FROM audit",
    "TRUNCATE audit",
    "INSERT INTO audit (actor, action, subject, sequence) VALUES ('a', 'b', 'c', 7)",
    "UPDATE api_keys SET scopes = '{keys:admin}'",
    "UPDATE api_keys SET digest = digest",
    "DELETE FROM api_keys",
    "UPDATE mapping_versions SET document = '{}'",
    "UPDATE secrets SET sealed = ''",
    "DELETE FROM erasures",
    "DELETE FROM batches",
)


@pytest.fixture
async def sessions(
    database_url: str, owner: asyncpg.Connection
) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """One session of each role, on a database whose PUBLIC has no rights."""
    await privileges.grant(owner, ROLES)
    found = {}
    for name in ("api", "worker", "backup"):
        address = acting_as(database_url.replace("+asyncpg", ""), getattr(ROLES, name))
        # Row-level security is tested apart: here it hides nothing.
        found[name] = await asyncpg.connect(address, server_settings={SETTING: EVERY})
    yield found
    for connection in found.values():
        await connection.close()


async def refused(connection: asyncpg.Connection, statement: str) -> None:
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return
    pytest.fail(f"not refused: {statement}")


async def test_every_table_and_sequence_has_a_row(owner: asyncpg.Connection) -> None:
    """A new table is granted to no role until the table of privileges lists it."""
    rows = await owner.fetch(
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND NOT relispartition AND relkind IN ('r', 'p', 'S') AND NOT EXISTS (SELECT FROM pg_depend "
        "WHERE objid = pg_class.oid AND deptype = 'i' AND relkind = 'S')"
    )
    assert {row["relname"] for row in rows if row["relkind"] != b"S"} == set(TABLES)
    assert {row["relname"] for row in rows if row["relkind"] == b"S"} == set(SEQUENCES)


@pytest.mark.parametrize("role", ["api", "worker", "backup"])
async def test_no_role_changes_the_schema(sessions: dict[str, asyncpg.Connection], role: str) -> None:
    """Nor grants, nor reads files, nor turns triggers off."""
    for statement in DDL:
        await refused(sessions[role], statement)


@pytest.mark.parametrize("role", ["api", "worker", "backup"])
async def test_every_verb_that_is_not_listed_is_refused(
    sessions: dict[str, asyncpg.Connection], owner: asyncpg.Connection, role: str
) -> None:
    """Table by table; an UPDATE is tried on every column that is not listed."""
    tried = 0
    for table, listed in TABLES.items():
        verbs = getattr(listed, role)
        for verb, statement in VERBS.items():
            if verb in verbs and verb != "UPDATE":
                continue
            columns = ["x"]
            if verb == "UPDATE":
                allowed = await owner.fetch(
                    "SELECT attname, has_column_privilege($2::text, attrelid, attnum, 'UPDATE') AS yes "
                    "FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 "
                    "AND NOT attisdropped",
                    table,
                    getattr(ROLES, role),
                )
                columns = [row["attname"] for row in allowed if not row["yes"]]
                assert (verb in verbs) == any(row["yes"] for row in allowed)
            for column in columns:
                await refused(sessions[role], statement.format(table, f'"{column}"'))
                tried += 1
    assert tried > 150


async def test_a_worker_cannot(sessions: dict[str, asyncpg.Connection]) -> None:
    """It reads no digest of a key, and changes no configuration."""
    for statement in API_ONLY:
        await refused(sessions["worker"], statement)


async def test_the_api_cannot(sessions: dict[str, asyncpg.Connection]) -> None:
    """It writes audit rows and cannot touch them afterwards; it reports no delivery."""
    for statement in [*WORKER_ONLY, *API_FORBIDDEN]:
        await refused(sessions["api"], statement)


async def test_neither_reads_what_a_stranger_reads(database_url: str, sessions: object) -> None:
    """PUBLIC has no right on any table, nor on the database."""
    async with asyncpg.create_pool(database_url.replace("+asyncpg", ""), min_size=1, max_size=1) as pool:
        found = await pool.fetch(
            "SELECT relname FROM pg_class, aclexplode(relacl) WHERE grantee = 0 "
            "AND relnamespace = 'public'::regnamespace"
        )
        assert found == []
        assert not await pool.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database, aclexplode(datacl) "
            "WHERE datname = current_database() AND grantee = 0)"
        )


async def test_a_worker_maintains_partitions_and_nothing_else(
    sessions: dict[str, asyncpg.Connection], owner: asyncpg.Connection
) -> None:
    """By functions of the owner that take no name, and refuse what is open, in use or far away."""
    worker = sessions["worker"]
    await owner.execute("SELECT drop_day_partitions(current_date + 5)")
    await create_ahead(worker)
    assert await owner.fetchval(
        "SELECT to_regclass('batches_p' || to_char(current_date + 5, 'YYYYMMDD')) IS NOT NULL"
    )
    await owner.execute(
        "INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, "
        "data_key) VALUES (1, current_date, 1, 1, 1, now(), now(), '')"
    )
    for statement in (
        "SELECT drop_day_partitions(current_date)",
        "SELECT drop_day_content(current_date)",
        "SELECT drop_ledger_partition(1)",
        "SELECT drop_state_partition(current_date - (current_date - date '1970-01-01') % 10)",
        "SELECT create_day_partitions(current_date + 400)",
        "SELECT create_ledger_partition(400)",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await worker.execute(statement)


async def test_a_search_path_of_the_caller_does_not_redirect_the_owner(
    sessions: dict[str, asyncpg.Connection], owner: asyncpg.Connection
) -> None:
    """A temporary table of the name `audit` is not what the seal updates."""
    api = sessions["api"]
    await api.execute("CREATE TEMPORARY TABLE audit (LIKE public.audit)")
    async with api.transaction():
        await api.execute("INSERT INTO public.audit (actor, action, subject) VALUES ('a', 'b', 'c')")
    assert await owner.fetchval("SELECT hash IS NOT NULL FROM audit")


async def test_the_owner_cannot_change_the_audit_either(owner: asyncpg.Connection) -> None:
    """UPDATE, DELETE and TRUNCATE are refused by triggers; only the owner could remove those."""
    await owner.execute("INSERT INTO audit (actor, action, subject) VALUES ('a', 'b', 'c')")
    for statement in (
        "UPDATE audit SET actor = 'd'",
        "UPDATE audit SET hash = ''",
        "UPDATE audit SET sequence = NULL",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "TRUNCATE audit, organisations CASCADE",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(statement)
    assert await owner.fetchval("SELECT actor || sequence FROM audit") == "a1"


@pytest.mark.process
async def test_the_command_makes_roles_that_can_sign_in(
    cluster: str, empty_database_url: str, database_names: Iterator[str]
) -> None:
    """`database-roles`, then `migrate`: with passwords that no statement holds. `--sql` creates them, too."""
    name = next(database_names)
    base = empty_database_url.rpartition("/")[2]
    host = empty_database_url.partition("@")[2].partition("/")[0]
    url = f"postgresql+asyncpg://{{}}:p%40ss@{host}/{base}"
    environment = {
        "MIGRATION_DATABASE_URL": empty_database_url,
        "DATABASE_URL": url.format(f"api_{name}"),
        "WORKER_DATABASE_URL": url.format(f"worker_{name}"),
        "BACKUP_DATABASE_URL": url.format(f"backup_{name}"),
        "ENCRYPTION_KEYS": "k1:" + "q2" * 21 + "M=",
        "BOOTSTRAP_ADMIN_KEY": "a-key-of-thirty-two-letters-or-more",
        "AMAZON_CLIENT_ID": "client",
        "PATH": "",
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return fork_server.run(words, environment)

    early = run("migrate")
    assert (early.returncode, "has no role" in early.stderr, "Traceback" in early.stderr) == (1, True, False)
    made = run("database-roles")
    assert made.returncode == 0, made.stderr
    migrated = run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    # Before an upgrade, a role that is new: its tables do not exist yet.
    await asyncio.to_thread(migrate.downgrade, empty_database_url, "0008")
    early = run("database-roles")
    assert (early.returncode, "`migrate` creates" in early.stdout) == (0, True), early.stderr
    assert run("migrate").returncode == 0
    printed = run("database-roles", "--sql").stdout
    # Nothing that fails before the first `migrate`, which grants the privileges.
    assert re.findall(r'(?m)^CREATE ROLE "([a-z]+)_', printed) == ["api", "worker", "backup"]
    assert re.findall(r'CREATE ROLE "(\w+)" .* REPLICATION;', printed) == [f"backup_{name}"]
    assert printed.count("\n") == 3
    # After the way back from a newer release, whose processes still run: nothing is revoked from them.
    async with connected(empty_database_url) as office:
        await office.execute(
            f"UPDATE alembic_version SET version_num = '9999'; GRANT SELECT ON counts TO backup_{name}"
        )
        for words in (("database-roles",), ("migrate",)):
            back = run(*words)
            assert (back.returncode, "newer release" in back.stdout) == (0, True), back.stdout + back.stderr
        assert await office.fetchval("SELECT has_table_privilege($1, 'counts', 'SELECT')", f"backup_{name}")
        await office.execute(f"UPDATE alembic_version SET version_num = '{schema_revision.required()}'")
    refused_ = run("keys", "list")
    assert refused_.returncode == 0, refused_.stderr
    del environment["MIGRATION_DATABASE_URL"]
    unlucky = run("migrate")
    assert (unlucky.returncode, "MIGRATION_DATABASE_URL" in unlucky.stderr) == (1, True), unlucky.stderr
    assert "Traceback" not in unlucky.stderr
    async with connected(empty_database_url) as office:
        attributes = "SELECT rolname FROM pg_roles WHERE rolname LIKE '%' || $1 AND {} ORDER BY 1"
        replicating = await office.fetch(attributes.format("rolreplication"), f"\\_{name}")
        mightier = await office.fetch(
            attributes.format("(rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls)"), f"\\_{name}"
        )
        assert [row[0] for row in replicating] == [f"backup_{name}"]
        assert mightier == []
        for role in (f"api_{name}", f"worker_{name}", f"backup_{name}"):
            await office.execute(f'DROP OWNED BY "{role}"')
            await office.execute(f'DROP ROLE "{role}"')


def test_without_other_urls_nothing_is_granted() -> None:
    """One role for everything, as on a development machine, owns the tables."""
    assert privileges.grants(RoleNames(None, None), database="x") == []
    assert scram_verifier("x").startswith("SCRAM-SHA-256$4096:")
