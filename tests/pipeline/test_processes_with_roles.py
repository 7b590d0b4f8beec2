"""The product as an operator runs it with three database roles: no statement of a process is refused."""

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from app import cli
from app.api.privacy import SubjectSearchView
from app.store.database import privileges
from tests.databases import ROLES, acting_as
from tests.pipeline.processes import Operator, Product, running_product
from tests.pipeline.world import event, eventually

# Commands that succeed beside running processes, as those of `_COMPARED` do.
_SUCCESSFUL = (
    "migrate",
    "rotate-keys",
    "keys create campaign events:write",
    "example",
    "database-roles",
    "database-roles --sql",
)
# Those that print the same with the roles as with the owner's URL alone.
_COMPARED = (
    "doctor",
    "balance",
    "balance --json",
    "audit verify",
    "keys list",
    "export",
    "plan {file}",
    "apply {file}",
    "replay {destination} --dry-run",
    "scan-personal-data --canary person3@example.com",
)
# Commands without a database, that start or test the service, or that are requests to the API; and `backup`,
# which has a role of its own (tests/commands/test_backup.py).
_WITHOUT_A_ROLE = (
    "up", "serve", "work", "health", "sandbox", "restore", "drill", "schema", "sbom", "conformance", "test",
    "campaign", "check", "bench", "lock", "docs", "backfill", "destinations", "mappings", "events",
    "rejections", "stats", "incidents", "sessions", "erase", "backup",
)  # fmt: skip


def test_every_command_is_tried_with_the_roles() -> None:
    """A new command is added to a list above."""
    tried = {command.split()[0] for command in (*_SUCCESSFUL, *_COMPARED, *_WITHOUT_A_ROLE)}
    assert tried == {command.name for command in cli.COMMANDS}


def _random_key(name: str) -> str:
    return f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


@pytest.fixture
async def operator(database_url: str, owner: asyncpg.Connection, tmp_path: Path) -> AsyncIterator[Operator]:
    """An API process and a worker with their own roles; the owner migrated before."""
    await privileges.grant(owner, ROLES)  # takes what PUBLIC has, too
    product = Product(
        acting_as(database_url, ROLES.api),
        tmp_path / "everything.log",
        more={
            "MIGRATION_DATABASE_URL": database_url,
            "WORKER_DATABASE_URL": acting_as(database_url, ROLES.worker),
            "ENCRYPTION_KEYS": _random_key("k1"),
        },
    )
    async with running_product(product, workers=["worker"]) as made:
        yield made


async def test_everything_works_with_least_privileges(operator: Operator) -> None:
    """Set up, send, deliver, find, erase, replay, archive; then the commands of the owner."""
    dst = await operator.destination("5000000000")
    events = [event(n, destination_id=dst) for n in range(5)]
    await operator.call("POST", "/events", events, status=202)
    await operator.call("POST", "/events", events[:1], status=202)  # a duplicate
    await operator.until_delivered(dst, 5)
    person = {"email": "person3@example.com"}
    found = await operator.call("POST", "/subjects/find", person)
    assert set(found) == set(SubjectSearchView.model_fields)
    assert [(item["status"], item["events"]) for item in found["items"]] == [("delivered", 1)]
    receipt = await operator.call("POST", "/subjects/erase", person, status=202)

    async def erased() -> bool:
        read = await operator.call("GET", f"/subjects/erasures/{receipt['id']}")
        return bool(read["status"] == "finished" and read["erased"]["delivered"] == 1)

    await eventually(erased, seconds=60)
    assert (await operator.call("POST", "/subjects/find", person))["events"] == 0
    made = await operator.call("POST", "/keys", {"name": "k", "scopes": ["events:write"]}, status=201)
    await operator.call("DELETE", f"/keys/{made['id']}")
    await operator.call("POST", f"/destinations/{dst}/replay", {"status": "dead", "dry_run": False})
    await operator.call("POST", f"/destinations/{dst}/pause")
    await operator.call("POST", "/events", [event(9, destination_id=dst)], status=202)
    await operator.call("DELETE", f"/destinations/{dst}?discard=true")
    actions = [row["action"] for row in (await operator.call("GET", "/audit"))["items"]]
    assert {"subject.searched", "subject.erasure_requested", "key.revoked"} <= set(actions)
    for command in _SUCCESSFUL:
        ended = await asyncio.to_thread(operator.product.run, *command.split())
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
    log = operator.product.log.read_text()
    assert "denied" not in log
    assert "42501" not in log


async def test_each_command_reads_what_the_owner_reads(operator: Operator, tmp_path: Path) -> None:
    """With data of every kind, and in the middle of a rotation; only the owner migrates."""
    product = operator.product
    owner = Product(product.more["MIGRATION_DATABASE_URL"], tmp_path / "log", amazon=product.amazon)
    owner.more |= {"PUBLIC_URL": product.api, "ENCRYPTION_KEYS": product.more["ENCRYPTION_KEYS"]}
    dst = await operator.destination("5000000001")
    await operator.call("POST", f"/destinations/{dst}/pause")
    await operator.call("POST", "/events", [event(n, destination_id=dst) for n in range(5)], status=202)
    await operator.call("POST", "/keys", {"name": "k", "scopes": ["events:write"]}, status=201)
    rows = tmp_path / "rows.ndjson"
    rows.write_text("".join(json.dumps(event(n)) + "\n" for n in range(10, 13)))
    backfill = await asyncio.to_thread(product.run, "backfill", str(rows), "--destination", dst)
    assert (backfill.returncode, "3" in backfill.stdout) == (0, True), backfill.stderr
    file = tmp_path / "configuration.yaml"
    file.write_text(product.run("export").stdout)
    newer = _random_key("k2")
    for number, command in enumerate((*_COMPARED, "doctor")):
        if number == len(_COMPARED):  # a rotation has begun: no value is encrypted with the new key yet
            for each in (product, owner):
                each.more["ENCRYPTION_KEYS"] = f"{newer},{each.more['ENCRYPTION_KEYS']}"
        words = command.format(file=file, destination=dst).split()
        with_roles, by_owner = [await asyncio.to_thread(each.run, *words) for each in (product, owner)]
        assert (command, with_roles.stdout) == (command, by_owner.stdout)
        assert with_roles.returncode == by_owner.returncode
        assert with_roles.stdout, (command, with_roles.stderr)
    assert "stored batches are readable: checked the 2 newest" in with_roles.stdout
    assert "can be removed" not in with_roles.stdout
    rotated = await asyncio.to_thread(product.run, "rotate-keys")
    assert (rotated.returncode, "batch_states.data_key: 2 of 2" in rotated.stdout) == (0, True)
    assert "k1 encrypts nothing and can be removed" in product.run("doctor").stdout
    owner.close()


async def test_a_command_that_its_role_may_not_run_names_the_place_where_it_may(
    operator: Operator, tmp_path: Path
) -> None:
    """The container of an API and that of a worker have only the URL of their own role."""
    dst = await operator.destination("5000000002")
    file = tmp_path / "configuration.yaml"
    file.write_text(operator.product.run("export").stdout)
    api = Product(operator.product.database_url, tmp_path / "log of the API")
    worker = Product(operator.product.more["WORKER_DATABASE_URL"], tmp_path / "log")
    for container in (api, worker):
        container.more |= {"ENCRYPTION_KEYS": operator.product.more["ENCRYPTION_KEYS"]}
    for container, command, remedy in (
        (worker, f"plan {file}", "run it where the API runs"),
        (worker, f"apply {file}", "run it where the API runs"),
        (worker, "export", "run it where the API runs"),
        (worker, f"replay {dst}", "run it where the API runs"),
        (worker, "keys list", "run it where the API runs"),
        (worker, "audit verify", "set MIGRATION_DATABASE_URL"),
        (worker, "rotate-keys", "set MIGRATION_DATABASE_URL"),
        (worker, "scan-personal-data", "set MIGRATION_DATABASE_URL"),
        (api, "balance", "set MIGRATION_DATABASE_URL"),
    ):
        ended = await asyncio.to_thread(container.run, *command.split())
        sentence = (
            f"The role of the database URL lacks privileges for {command.split()[0]}: {remedy}, "
            "or run `migrate` to grant them.\n"
        )
        assert (ended.returncode, ended.stderr) == (1, sentence), command
    api.close()
    worker.close()


@pytest.mark.parametrize("command", ["serve", "work"])
async def test_a_process_without_traffic_is_ready_on_the_monitoring_port(
    operator: Operator, command: str
) -> None:
    """Its probe writes rows, which row-level security refuses to a session that acts for no organisation."""
    address = operator.product.watched(command)
    await asyncio.to_thread(operator.product.ready, f"{address}/health/live")
    reasons = set((await operator.client.get(f"{address}/health/ready")).json()["reasons"])
    # The tests' database is not durable.
    assert reasons == {"fsync_off", "full_page_writes_off"}
