"""The audit is a chain of hashes: an altered, removed or added row is detected at that row."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin.audit import ChainResult, follow_chain
from app.delivery.maintenance import Maintenance
from app.domain.audit_chain import ChainBroken, ChainHead
from app.processes.worker import retention_of
from app.settings import Settings
from app.store import audit
from app.store.counts import CountWriter
from app.telemetry import Telemetry
from tests.tables import cases

ACTIONS = 12


async def actions(engine: AsyncEngine, number: int = ACTIONS) -> None:
    """Do some acts, one a transaction, with words that a careless hash would mix up."""
    for place in range(number):
        async with engine.begin() as connection:
            await audit.record(
                connection,
                "key_1",
                audit.AuditAction.DESTINATION_CHANGED,
                f"dst_{place}",
                before={"name": 'a "quoted" ü\n', "rate": 1.5},
                after={"name": f"b{place}", "rate": 2},
            )


async def tamper_with(engine: AsyncEngine, *statements: str) -> None:
    """Change the audit as a superuser who turns its triggers off."""
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            await connection.execute(text(statement))


async def head_of(engine: AsyncEngine) -> ChainHead:
    """Return the head of a chain that holds."""
    head = (await follow_chain(engine)).chain
    assert isinstance(head, ChainHead)
    return head


async def test_the_head_is_logged_daily(
    engine: AsyncEngine, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Kept with the logs, it shows that a chain was cut off."""
    elapsed = 0.0
    caplog.set_level(logging.INFO)
    async with asyncpg.create_pool(database_url.replace("+asyncpg", ""), min_size=1, max_size=1) as pool:
        worker: Any = SimpleNamespace(
            pool=pool, writer=CountWriter(1), monotonic=lambda: elapsed, telemetry=Telemetry()
        )
        maintenance = Maintenance(worker=worker, retention=retention_of(Settings()))
        await maintenance.run()  # an audit without rows has no head
        elapsed += 24 * 3600
        await actions(engine, 3)
        await maintenance.run()
        await maintenance.run()
        elapsed += 24 * 3600
        await maintenance.run()
    head = await head_of(engine)
    facts = [vars(entry)["fields"] for entry in caplog.records if entry.message == "audit.head"]
    assert facts == [{"rows": 3, "hash": head.hash.hex()}] * 2


async def test_an_empty_audit_holds(engine: AsyncEngine) -> None:
    """There is nothing to break."""
    assert await follow_chain(engine) == ChainResult(ChainHead(0, bytes(32)))


async def test_fifty_at_once_make_one_chain(engine: AsyncEngine) -> None:
    """Three rows a transaction, some undone: no fork, no gap."""

    async def entry(number: int) -> None:
        async with engine.connect() as connection:
            await connection.begin()
            for _ in range(3):
                await audit.record(connection, "a", "x", str(number))
            if number % 5:
                await connection.commit()
            else:
                await connection.rollback()

    await asyncio.gather(*(entry(number) for number in range(50)))
    assert (await head_of(engine)).rows == 40 * 3


@cases(
    ("tamper", "row", "word"),
    {
        "who": ("UPDATE audit SET actor = 'key_2' WHERE id = 5", 5, "not match its hash"),
        "whose": (
            "INSERT INTO organisations (id, name) VALUES ('other', 'Other');"
            "UPDATE audit SET organisation_id = 'other' WHERE id = 5",
            5,
            "not match",
        ),
        "when": ("UPDATE audit SET at = at + interval '1 s' WHERE id = 5", 5, "not match"),
        "what": ("UPDATE audit SET after = jsonb_set(after, '{rate}', '3') WHERE id = 5", 5, "not match"),
        "what it was before": ("UPDATE audit SET before = NULL WHERE id = 5", 5, "not match"),
        "a row taken out": ("DELETE FROM audit WHERE id = 5", 6, "5 is missing"),
        "the first row taken out": ("DELETE FROM audit WHERE id = 1", 2, "1 is missing"),
        "a row altered and hashed anew": (
            "UPDATE audit SET actor = 'key_2' WHERE id = 5;"
            "UPDATE audit SET hash = sha256(prev_hash || convert_to(audit_text(audit), 'UTF8'))"
            " WHERE id = 5",
            6,
            "not contain the hash",
        ),
        "a row slipped in": (
            "INSERT INTO audit (actor, action, subject) VALUES ('x', 'y', 'z')",
            13,
            "not linked",
        ),
    },
)
async def test_a_tampered_row_is_named(engine: AsyncEngine, tamper: str, row: int, word: str) -> None:
    """The first one at which the chain does not hold."""
    await actions(engine)
    await tamper_with(engine, *tamper.split(";"))
    result = (await follow_chain(engine)).chain
    assert isinstance(result, ChainBroken)
    assert result.id == row
    assert word in result.sentence


async def test_a_chain_that_was_cut_off_is_found_by_an_earlier_head(engine: AsyncEngine) -> None:
    """A chain alone cannot detect this."""
    await actions(engine)
    head = await head_of(engine)
    await tamper_with(engine, "DELETE FROM audit WHERE id > 10")
    verified = await follow_chain(engine, head.hash.hex())
    assert (type(verified.chain), verified.is_known) == (ChainHead, False)
