"""Store what Amazon reported about a destination's account, and what users confirmed about their set-up."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Text, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId
from app.store import read_row
from app.store.statements import execute, fetch_one
from app.store.tables import columns_of, insert_own, own, table


@dataclass(frozen=True, slots=True)
class AmazonAccount:
    """The advertiser as Amazon reported it to the signed-in user. A field that Amazon left out is None."""

    name: str | None
    currency: str | None
    seen_at: datetime


AMAZON_ACCOUNTS = table(
    "amazon_accounts",
    AmazonAccount,
    Column("organisation_id", Text, nullable=False),
    Column("destination", Text, primary_key=True),
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
