"""The outbox that a Python team would write instead of this service: the reference of `--against outbox`.

FastAPI and pydantic read and check the events, SQLAlchemy writes one row per event before the 202, and a
worker sends the rows of a destination with httpx, up to 500 in a request. It has one mapping in code, no
encryption, no console, and no comparison of repeated events with different content.

`python -m bench.outbox migrate`, `serve --socket N` and `work` have the arguments of the service's commands.
"""

import argparse
import asyncio
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx
import uvicorn
import uvloop
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import (
    BigInteger,
    DateTime,
    Identity,
    Index,
    String,
    UniqueConstraint,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.stand_in import ADVERTISER

DESTINATION = "dst_outbox_{}"
_REQUEST_EVENTS = 500
_MOST_ATTEMPTS = 10
_POLL_S = 0.1
_PHONE = re.compile(r"\+?[0-9]{7,15}")


class Base(DeclarativeBase):
    """The outbox's tables."""


class OutboxEvent(Base):
    """An event that is sent, or will be."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("destination_id", "event_id"),
        Index(
            "outbox_pending", "destination_id", "next_attempt_at", postgresql_where=text("status = 'pending'")
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    destination_id: Mapped[str] = mapped_column(String)
    event_id: Mapped[str] = mapped_column(String)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(String, default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    sent_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


# --- Events ---------------------------------------------------------------------------------------


class Properties(BaseModel):
    """The properties of a conversion."""

    brand: Annotated[str, Field(max_length=256)]
    category: Annotated[str, Field(max_length=256)]
    sku: Annotated[str, Field(max_length=256)]
    total: Annotated[float, Field(ge=0)]


class Details(BaseModel):
    """What happened, and when."""

    name: str
    timestamp: datetime
    properties: Properties


class User(BaseModel):
    """The person."""

    email: str | None = None
    phone: str | None = None
    maid: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]


class Event(BaseModel):
    """An event of a journey."""

    model_config = ConfigDict(extra="ignore")

    event_id: Annotated[str, Field(min_length=1, max_length=256)]
    destination_id: str
    event: Details
    user: User


class Batch(BaseModel):
    """Several events."""

    events: Annotated[list[Event], Field(min_length=1, max_length=5_000)]


def payload_of(event: Event) -> dict[str, Any]:
    """Return the conversion for Amazon, with hashed identities. Raises ValueError without any match key."""
    keys = [
        {"type": kind, "values": [hashlib.sha256(value.encode()).hexdigest()]}
        for kind, value in (
            ("EMAIL", _email(event.user.email)),
            ("PHONE", _phone(event.user.phone)),
            ("FIRST_NAME", _letters(event.user.first_name)),
            ("LAST_NAME", _letters(event.user.last_name)),
        )
        if value
    ]
    if event.user.maid:
        keys.append({"type": "MAID", "values": [event.user.maid]})
    if not keys:
        raise ValueError("no match key")
    properties = event.event.properties
    return {
        "eventDescription": {
            "name": "Added to cart",
            "conversionType": "ADD_TO_SHOPPING_CART",
            "eventSource": "WEBSITE",
            "eventIngestionMethod": "SERVER_TO_SERVER",
        },
        "countryCode": event.user.country,
        "eventTime": event.event.timestamp.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "matchKeys": keys,
        "value": properties.total,
        "eventId": f"0123456789abcdef:{event.event_id}",
        "consent": {"amazonConsent": {"amznUserData": "GRANTED", "amznAdStorage": "GRANTED"}},
        "customData": [
            {"name": name, "value": getattr(properties, name)} for name in ("brand", "category", "sku")
        ],
    }


def _email(value: str | None) -> str:
    return value.strip().lower() if value and "@" in value else ""


def _phone(value: str | None) -> str:
    return value.lstrip("+") if value and _PHONE.fullmatch(value) else ""


def _letters(value: str | None) -> str:
    return "".join(filter(str.isalnum, value.lower())) if value else ""


# --- API ------------------------------------------------------------------------------------------


def application(engine: AsyncEngine, key: str) -> FastAPI:
    """Return the API: `POST /events` answers 202 when the events are stored."""
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as opened:
            yield opened

    def authenticate(x_api_key: Annotated[str, Header()]) -> None:
        if x_api_key != key:
            raise HTTPException(401)

    @app.get("/health/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/events", dependencies=[Depends(authenticate)], status_code=202)
    async def post_events(
        body: Batch | Event, opened: Annotated[AsyncSession, Depends(session)], response: Response
    ) -> dict[str, Any]:
        results, rows = [], []
        for event in body.events if isinstance(body, Batch) else [body]:
            try:
                payload = payload_of(event)
            except ValueError as error:
                results.append({"event_id": event.event_id, "status": "rejected", "message": str(error)})
                continue
            results.append({"event_id": event.event_id, "status": "accepted"})
            rows.append(
                {"destination_id": event.destination_id, "event_id": event.event_id, "payload": payload}
            )
        if rows:
            statement = insert(OutboxEvent).on_conflict_do_nothing().returning(OutboxEvent.event_id)
            stored = set((await opened.execute(statement, rows)).scalars())
            await opened.commit()
            for result in results:
                if result["status"] == "accepted" and result["event_id"] not in stored:
                    result["status"] = "duplicate"
        counts = defaultdict(int, {"accepted": 0, "rejected": 0, "duplicate": 0})
        for result in results:
            counts[result["status"]] += 1
        if not counts["accepted"] and counts["rejected"]:
            response.status_code = 422
        return {**counts, "results": results}

    return app


# --- Worker ---------------------------------------------------------------------------------------


class Worker:
    """Sends the waiting events of all destinations, one request for each destination at a time."""

    def __init__(self, engine: AsyncEngine, base_url: str) -> None:
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._client = httpx.AsyncClient(base_url=base_url, timeout=30, trust_env=False)
        self._token: tuple[str, datetime] | None = None

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            async with self._sessions() as session:
                statement = (
                    select(OutboxEvent.destination_id)
                    .where(OutboxEvent.status == "pending", OutboxEvent.next_attempt_at <= func.now())
                    .distinct()
                )
                destinations = (await session.execute(statement)).scalars().all()
            if not destinations:
                await asyncio.sleep(_POLL_S)
                continue
            await asyncio.gather(*map(self._send, destinations))

    async def _send(self, destination: str) -> None:
        async with self._sessions() as session, session.begin():
            statement = (
                select(OutboxEvent)
                .where(
                    OutboxEvent.status == "pending",
                    OutboxEvent.destination_id == destination,
                    OutboxEvent.next_attempt_at <= func.now(),
                )
                .order_by(OutboxEvent.id)
                .limit(_REQUEST_EVENTS)
                .with_for_update(skip_locked=True)
            )
            events = (await session.execute(statement)).scalars().all()
            if not events:
                return
            try:
                failed = await self._request(destination, events)
            except httpx.HTTPError:
                failed = set(range(len(events)))
            sent = [event.id for place, event in enumerate(events) if place not in failed]
            await session.execute(
                update(OutboxEvent)
                .where(OutboxEvent.id.in_(sent))
                .values(status="sent", sent_at=func.now())
                .execution_options(synchronize_session=False)
            )
            for event in (events[place] for place in failed):
                event.attempts += 1
                event.status = "dead" if event.attempts >= _MOST_ATTEMPTS else "pending"
                event.next_attempt_at = datetime.now(UTC) + timedelta(seconds=2**event.attempts)

    async def _request(self, destination: str, events: Sequence[OutboxEvent]) -> set[int]:
        """Return the places of the events that Amazon did not accept. Raises httpx.HTTPError."""
        number = int(destination.rpartition("_")[2])
        response = await self._client.post(
            "/adsApi/v1/create/events",
            headers={
                "Authorization": f"Bearer {await self._access_token()}",
                "Amazon-Ads-AccountId": str(ADVERTISER + number),
                "Amazon-Ads-ClientId": "bench",
            },
            json={"events": [event.payload for event in events]},
        )
        response.raise_for_status()
        return {item["index"] for item in response.json()["error"]}

    async def _access_token(self) -> str:
        if self._token is None or self._token[1] <= datetime.now(UTC):
            response = await self._client.post("/auth/o2/token", data={"grant_type": "refresh_token"})
            answer = response.raise_for_status().json()
            until = datetime.now(UTC) + timedelta(seconds=answer["expires_in"] - 60)
            self._token = answer["access_token"], until
        return self._token[0]


# --- Commands -------------------------------------------------------------------------------------


def main() -> None:
    """Run one of the commands, with the settings of the service from the environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("migrate", "serve", "work"))
    parser.add_argument("--socket", type=int)
    asked = parser.parse_args()
    engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=32, max_overflow=32)
    match asked.command:
        case "migrate":
            asyncio.run(_migrate(engine))
        case "serve":
            app = application(engine, os.environ["BOOTSTRAP_ADMIN_KEY"])
            uvicorn.run(app, fd=asked.socket, log_level="warning", access_log=False)
        case _:
            uvloop.run(Worker(engine, os.environ["AMAZON_BASE_URL"]).run())


async def _migrate(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    main()
