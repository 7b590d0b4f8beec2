"""Store what Amazon reported about a destination's account, and what users confirmed about their set-up."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Text, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId
from app.store.rows import read_row
from app.store.statements import execute, fetch, fetch_one
from app.store.tables import INSTANT, columns_of, insert_own, own, table


@dataclass(frozen=True, slots=True)
class AmazonAccount:
    """The advertiser as Amazon reported it to the signed-in user. A field that Amazon left out is None."""

    name: str | None
    currency: str | None
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A user's statement that a preflight item (`what`) is set up at Amazon."""

    what: str
    by: str
    at: datetime


AMAZON_ACCOUNTS = table(
    "amazon_accounts",
    AmazonAccount,
    Column("organisation_id", Text, nullable=False),
    Column("destination", Text, primary_key=True),
)
CONFIRMATIONS = table(
    "confirmations",
    Confirmation,
    Column("organisation_id", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("confirmed_by", Text, nullable=False, key="by"),
    Column("confirmed_at", INSTANT, nullable=False, key="at"),
)


async def save(
    connection: AsyncConnection, destination: DestinationId, *, name: str | None, currency: str | None
) -> None:
    """Store the name and currency that Amazon reported, in place of earlier values."""
    statement = insert_own(AMAZON_ACCOUNTS, destination=destination, name=name, currency=currency)
    newer = {"name": name, "currency": currency, "seen_at": func.now()}
    await execute(connection, statement.on_conflict_do_update(index_elements=["destination"], set_=newer))


async def find(connection: AsyncConnection, destination: str) -> AmazonAccount | None:
    """Return what Amazon last reported about a destination's account, or None before the first sign-in."""
    statement = select(*columns_of(AMAZON_ACCOUNTS, AmazonAccount))
    of_destination = (own(AMAZON_ACCOUNTS), AMAZON_ACCOUNTS.c.destination == destination)
    row = await fetch_one(connection, statement.where(*of_destination))
    return None if row is None else read_row(AmazonAccount, row)


async def confirm(connection: AsyncConnection, destination: DestinationId, what: str, by: str) -> bool:
    """Record that `by` confirmed the preflight item `what`. Return False if it was confirmed before."""
    statement = insert_own(CONFIRMATIONS, destination=destination, what=what, by=by)
    return await execute(connection, statement.on_conflict_do_nothing()) == 1


async def withdraw(connection: AsyncConnection, destination: DestinationId, what: str) -> bool:
    """Delete the confirmation of a preflight item. Return False if there is none."""
    item = (CONFIRMATIONS.c.destination == destination, CONFIRMATIONS.c.what == what)
    return await execute(connection, delete(CONFIRMATIONS).where(own(CONFIRMATIONS), *item)) == 1


async def confirmations(connection: AsyncConnection, destination: str) -> dict[str, Confirmation]:
    """Return a destination's confirmations by preflight item."""
    statement = select(*columns_of(CONFIRMATIONS, Confirmation))
    rows = await fetch(
        connection, statement.where(own(CONFIRMATIONS), CONFIRMATIONS.c.destination == destination)
    )
    return {row["what"]: read_row(Confirmation, row) for row in rows}
