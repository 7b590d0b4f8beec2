"""The privileges of the database roles of API, workers and backups, table by table.

The owner of the tables (MIGRATION_DATABASE_URL) grants them. Postgres refuses every statement that needs a
privilege not listed here. A test checks that `TABLES` has every table of the schema.
"""

import base64
import hashlib
import hmac
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from app.store import PipelineConnection, read_sql

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class TablePrivileges:
    """The privileges of each role on one table, as written in GRANT. An empty text means none.

    With `worker_sees_all`, the table has row-level security and belongs to the pipeline. A worker serves all
    organisations, so its role has a policy with the condition `true`, which costs nothing in a query.
    """

    api: str = ""
    worker: str = ""
    backup: str = ""
    worker_sees_all: bool = False


_READ_WRITE: Final = "SELECT, INSERT, UPDATE"
_ALL: Final = "SELECT, INSERT, UPDATE, DELETE"
_NEW_AUDIT_ROW: Final = "INSERT (organisation_id, actor, action, subject, destination, before, after)"
_KEY_LIFE: Final = "UPDATE (last_used_at, expires_at, revoked_at)"
_SIGN_IN_STATE: Final = "UPDATE (sign_in, sign_in_reason, endpoint_probe_at, version, updated_at)"
_ERASURE_PROGRESS: Final = (
    "UPDATE (sealed, scanned_to, scanned, waiting, dead, delivered, unreadable, finished_at)"
)

TABLES: Final[Mapping[str, TablePrivileges]] = {
    "alembic_version": TablePrivileges("SELECT", "SELECT"),
    # The first process writes these rows; they never change.
    "secrets": TablePrivileges("SELECT, INSERT", "SELECT, INSERT"),
    "encryption_keys": TablePrivileges("SELECT, INSERT", "SELECT, INSERT"),
    "readiness": TablePrivileges(_READ_WRITE, _READ_WRITE),
    "last_base_backup": TablePrivileges("SELECT", "SELECT", _READ_WRITE),
    "balance_checks": TablePrivileges("SELECT", _READ_WRITE),
    "organisations": TablePrivileges(_READ_WRITE, "SELECT"),
    "organisation_usage": TablePrivileges("SELECT", "SELECT, INSERT"),
    "inbound_demand": TablePrivileges(_ALL),
    "lanes": TablePrivileges("SELECT, UPDATE (erasures)", "SELECT, UPDATE", worker_sees_all=True),
    "destinations": TablePrivileges(_READ_WRITE, f"SELECT, {_SIGN_IN_STATE}"),
    "sign_ins": TablePrivileges(_ALL, "SELECT, UPDATE"),
    "oauth_states": TablePrivileges(_ALL),
    "amazon_accounts": TablePrivileges(_READ_WRITE),
    "confirmations": TablePrivileges("SELECT, INSERT, DELETE"),
    "mappings": TablePrivileges(_READ_WRITE, "SELECT (organisation_id, id, number, destination)"),
    "mapping_versions": TablePrivileges("SELECT, INSERT"),
    "event_names": TablePrivileges(_READ_WRITE),
    # Rows of keys are never deleted, because the audit refers to them. Workers receive no requests with keys.
    "api_keys": TablePrivileges(f"SELECT, INSERT, {_KEY_LIFE}"),
    "console_sessions": TablePrivileges(_ALL),
    "logout_tokens": TablePrivileges("SELECT, INSERT, DELETE"),
    # Rows are never changed. The trigger that adds the hash runs with the owner's privileges.
    "audit": TablePrivileges(f"SELECT, {_NEW_AUDIT_ROW}", "SELECT (sequence, hash)"),
    "erasures": TablePrivileges("SELECT, INSERT", f"SELECT, {_ERASURE_PROGRESS}"),
    # Workers delete samples in erasures.
    "schema_samples": TablePrivileges("SELECT, INSERT, DELETE", "SELECT (mapping), DELETE"),
    "schema_fingerprints": TablePrivileges(
        _READ_WRITE, "SELECT (destination, generation, erasures), UPDATE (content, generation, erasures)"
    ),
    "ledger_generations": TablePrivileges("SELECT", "SELECT, INSERT, DELETE"),
    "ledger": TablePrivileges("SELECT, INSERT, DELETE", "SELECT"),
    "mapped_duplicates": TablePrivileges("SELECT, INSERT", "SELECT, DELETE", worker_sees_all=True),
    # Only the erasure scan rewrites the content of a batch.
    "batches": TablePrivileges("SELECT, INSERT", "SELECT, UPDATE (content)", worker_sees_all=True),
    # The API requeues events (replay) and discards them (archive).
    "batch_states": TablePrivileges(_READ_WRITE, "SELECT, UPDATE", worker_sees_all=True),
    "id_digests": TablePrivileges("SELECT", "SELECT, INSERT, DELETE", worker_sees_all=True),
    # A replay of some events of a batch that was never sent gives them rows of their own.
    "exceptions": TablePrivileges(_READ_WRITE, _ALL, worker_sees_all=True),
    "attempts": TablePrivileges("SELECT", _READ_WRITE, worker_sees_all=True),
    "responses": TablePrivileges("SELECT", "SELECT, INSERT, DELETE", worker_sees_all=True),
    "replays": TablePrivileges(_READ_WRITE, "SELECT, DELETE"),
    "counts": TablePrivileges(_READ_WRITE, _READ_WRITE, worker_sees_all=True),
    "rejections": TablePrivileges(_READ_WRITE, "SELECT"),
    "consent_stops": TablePrivileges(_READ_WRITE),
    "rejection_records": TablePrivileges("SELECT, INSERT", "SELECT, DELETE"),
    # Written only by the previous release, until its processes are replaced.
    "journey_counts": TablePrivileges(_READ_WRITE),
    "journey_nodes": TablePrivileges("SELECT, INSERT", "SELECT, DELETE", worker_sees_all=True),
    "journey_figures": TablePrivileges(_READ_WRITE, _ALL, worker_sees_all=True),
    "mapping_checks": TablePrivileges(_ALL, "SELECT", worker_sees_all=True),
    "path_days": TablePrivileges(_ALL),
    "repeated_event_ids": TablePrivileges(_ALL),
    "shadows": TablePrivileges(_ALL),
    "destination_alerting": TablePrivileges(_READ_WRITE, "SELECT"),
    # An API process or a worker writes the tables from here to `outcome_totals`: the process that has the
    # lease of incidents.
    "job_leases": TablePrivileges(_ALL, _ALL),
    "commit_probes": TablePrivileges(_READ_WRITE, _READ_WRITE),
    "incidents": TablePrivileges(_ALL, _ALL),
    "incident_messages": TablePrivileges(_READ_WRITE, _READ_WRITE),
    "notifications": TablePrivileges(_ALL, _ALL),
    "notification_channels": TablePrivileges(_READ_WRITE, _READ_WRITE),
    "intake_steps": TablePrivileges(_ALL, _ALL),
    "intake_totals": TablePrivileges(_ALL, _ALL),
    "outcome_history": TablePrivileges(_ALL, _ALL),
    "outcome_totals": TablePrivileges(_ALL, _ALL),
    "callback_destinations": TablePrivileges("SELECT, INSERT, DELETE", "SELECT"),
    "callbacks": TablePrivileges("SELECT", _ALL, worker_sees_all=True),
    "callback_events": TablePrivileges("SELECT, INSERT, DELETE", _ALL, worker_sees_all=True),
}
SEQUENCES: Final[Mapping[str, TablePrivileges]] = {
    "batch_ids": TablePrivileges("SELECT, USAGE", "SELECT"),
    "attempt_ids": TablePrivileges(worker="SELECT, USAGE"),
}
# These functions run with the owner's privileges and bypass row-level security. They return only ids and
# whether another organisation uses the same advertiser.
API_FUNCTIONS: Final = (
    "attempts_of_batch(bigint, date)",
    "is_shared_account(integer)",
    "lane_of(text, text)",
)
# These functions run with the owner's privileges, so that a worker can create and drop partitions.
WORKER_FUNCTIONS: Final = (
    "create_day_partitions(date)",
    "create_state_partition(date)",
    "create_ledger_partition(integer)",
    "drop_day_content(date)",
    "drop_day_partitions(date)",
    "drop_state_partition(date)",
    "drop_ledger_partition(integer)",
)


@dataclass(frozen=True, slots=True)
class RoleNames:
    """The database roles of the API, the workers and the backups. None means the owner of the tables."""

    api: str | None
    worker: str | None
    backup: str | None = None

    @property
    def distinct(self) -> list[str]:
        """Return the distinct role names, without None."""
        return list(dict.fromkeys(name for name in (self.api, self.worker, self.backup) if name is not None))


def creation(name: str, *, replicates: bool = False) -> str:
    """Return the statement that creates a role without a password. The role of backups `replicates`."""
    attributes = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"
    return f"CREATE ROLE {_quoted(name)} {attributes} {'REPLICATION' if replicates else 'NOREPLICATION'}"


def grants(roles: RoleNames, *, database: str, schema: str = "public") -> list[str]:
    """Return the statements that grant the roles the privileges of this release and revoke all others.

    A role of several processes gets the privileges of each.
    """
    if not roles.distinct:
        return []
    every = ", ".join(map(_quoted, roles.distinct))
    database, schema = _quoted(database), _quoted(schema)
    statements = [
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {every}",
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM PUBLIC, {every}",
        f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM {every}",
        f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {every}",
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC, {every}",
        f"GRANT USAGE ON SCHEMA {schema} TO {every}",
        f"GRANT CONNECT ON DATABASE {database} TO {every}",
    ]
    if roles.api is not None:
        # Each session of the API creates the flush function as a temporary object (ADR 0029).
        statements.append(f"GRANT TEMPORARY ON DATABASE {database} TO {_quoted(roles.api)}")
    for kind, objects in (("TABLE", TABLES), ("SEQUENCE", SEQUENCES)):
        for name, privileges in objects.items():
            for process in ("api", "worker", "backup"):
                role, verbs = getattr(roles, process), getattr(privileges, process)
                if role is not None and verbs:
                    statements.append(f"GRANT {verbs} ON {kind} {name} TO {_quoted(role)}")
    for role, functions in ((roles.api, API_FUNCTIONS), (roles.worker, WORKER_FUNCTIONS)):
        if role is not None:
            statements += [f"GRANT EXECUTE ON FUNCTION {each} TO {_quoted(role)}" for each in functions]
    worker = None if roles.worker == roles.api else roles.worker
    visible = [name for name, privileges in TABLES.items() if privileges.worker_sees_all]
    return statements + [_policy_of_worker(table, worker) for table in visible]


def _policy_of_worker(table: str, role: str | None) -> str:
    """Return the statement that gives a table the policy `worker` for a role, or no such policy.

    It does nothing if that is so already. Each change locks the table, and all intake and delivery wait.
    """
    wanted = "ARRAY['{}']".format(role.replace("'", "''")) if role else "NULL"
    create = f"CREATE POLICY worker ON {table} TO {_quoted(role)} USING (true);" if role else ""
    return f"""DO $$ BEGIN
  IF (SELECT array_agg(r::text) FROM pg_policies, unnest(roles) r WHERE schemaname = current_schema()
      AND tablename = '{table}' AND policyname = 'worker') IS DISTINCT FROM {wanted} THEN
    DROP POLICY IF EXISTS worker ON {table}; {create}
  END IF; END $$"""


async def grant(connection: PipelineConnection, roles: RoleNames) -> None:
    """Grant the roles the privileges of this release and revoke all others, in one transaction."""
    [row] = await connection.fetch("SELECT current_database() AS database, current_schema() AS schema")
    async with connection.transaction():
        for statement in grants(roles, **dict(row)):
            await connection.execute(statement)


async def create_role(connection: PipelineConnection, name: str, password: str, *, replicates: bool) -> None:
    """Create a role, with a password unless `password` is empty.

    The statement contains the SCRAM verifier instead of the password, because servers can log statements.
    """
    with_password = f" PASSWORD '{scram_verifier(password)}'" if password else ""
    await connection.execute(creation(name, replicates=replicates) + with_password)


async def lacking(connection: PipelineConnection, role: Literal["api", "worker"]) -> list[str]:
    """Return what the session's role may not do, although processes of `role` need it, such as
    `INSERT on audit`.
    """
    needed = [
        (name, verb, column)
        for name, privileges in {**TABLES, **SEQUENCES}.items()
        for verb, columns in re.findall(r"(\w+)(?: \(([^)]*)\))?", getattr(privileges, role))
        for column in columns.split(", ")
    ]
    return [row[0] for row in await connection.fetch(SQL["lacking"], *map(list, zip(*needed, strict=True)))]


async def missing(connection: PipelineConnection, roles: RoleNames) -> list[str]:
    """Return the names of the roles that do not exist in the database."""
    known = {row[0] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
    return [name for name in roles.distinct if name not in known]


def scram_verifier(password: str) -> str:
    """Return the SCRAM-SHA-256 verifier of a password (RFC 5803)."""
    salt, rounds = os.urandom(16), 4_096
    salted = hashlib.pbkdf2_hmac("sha256", unicodedata.normalize("NFKC", password).encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${rounds}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def _quoted(name: str) -> str:
    """Return a name as a quoted SQL identifier. Raises ValueError if it is not valid."""
    if not re.fullmatch(r'[^\x00"]{1,63}', name) or "$$" in name:
        raise ValueError("a name has 1 to 63 characters, no quotation mark and no $$")
    return f'"{name}"'
