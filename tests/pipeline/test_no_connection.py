"""Without a connection to Postgres callers are answered 503 within two seconds, by a starting process too.

Between the API and Postgres stands a listener that answers in its place, as a server does that has no
connection left, or starts, or is stopped; that says nothing at all; or that lets everybody through.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.pipeline.processes import ADMIN, Product

OPEN, SILENT, SLOW = "open", "silent", "slow"
WITHIN_S = 2.0
HANDSHAKE_S = 3.0  # of the mode SLOW


@dataclass
class StalledPostgres:
    """Answers new connections by `mode`: OPEN, SILENT, SLOW, or a SQLSTATE."""

    target: tuple[str, int]
    mode: str = OPEN
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> int:
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        if self.mode == SLOW:
            await asyncio.sleep(HANDSHAKE_S)
        if self.mode in (OPEN, SLOW):
            theirs, ours = await asyncio.open_connection(*self.target)
            self.writers.add(ours)
            await asyncio.gather(_pass(reader, ours), _pass(theirs, writer))
        elif self.mode != SILENT:
            while b"user" not in (received := await reader.read(1024)):
                if not received:
                    return
                writer.write(b"N")  # no TLS
            fields = b"SFATAL\0VFATAL\0C" + self.mode.encode() + b"\0Mno\0\0"
            writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while some := await reader.read(65_536):
            writer.write(some)
    except OSError:
        pass
    writer.close()


@dataclass
class Api:
    product: Product
    postgres: StalledPostgres
    client: httpx.AsyncClient

    async def post(self) -> tuple[int, float]:
        """Post an event; return the answer's status and the seconds it took."""
        began = time.monotonic()
        answer = await self.client.post(
            f"{self.product.api}/events",
            json={"event_id": "e-1", "destination_id": "dst_00000000000000000001"},
            headers={"X-Api-Key": ADMIN},
        )
        took = time.monotonic() - began
        if answer.status_code == 503:
            assert answer.headers["retry-after"]
            assert answer.json()["error"] == "unavailable"
        return answer.status_code, took

    async def until(self, *statuses: int) -> None:
        async with asyncio.timeout(180):  # a start takes 40 s on a busy machine
            while True:
                try:
                    if (await self.post())[0] in statuses:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    parts = urlsplit(database_url)
    postgres = StalledPostgres((parts.hostname or "", parts.port or 0))
    port = await postgres.start()
    product = Product(
        database_url.replace(f":{parts.port}/", f":{port}/") + "?sslmode=disable", tmp_path / "log.txt"
    )
    async with httpx.AsyncClient(timeout=20) as client:
        yield Api(product, postgres, client)
    await asyncio.to_thread(product.close)
    postgres.cut()
    postgres.server.close()


@pytest.mark.parametrize("mode", ["53300", SILENT])
async def test_an_api_that_starts_without_a_connection_answers_at_once_and_serves_when_it_has_one(
    api: Api, mode: str
) -> None:
    """Callers used to hang behind its open listener until they gave up."""
    api.postgres.mode = mode
    api.product.start("api", "serve", "--socket", str(api.product.listener.fileno()))
    await api.until(503)
    for _ in range(3):
        status, took = await api.post()
        assert (status, took < WITHIN_S) == (503, True), (status, took)
    ready = await api.client.get(f"{api.product.api}/health/ready")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["starting"])
    assert (await api.client.get(f"{api.product.api}/health/live")).status_code == 200
    api.postgres.mode = OPEN
    await api.until(422)  # there is no such destination, says the service itself


async def test_an_api_serves_although_a_handshake_takes_three_seconds(api: Api) -> None:
    """At its start, and after it lost its connections. Callers get 503 within two seconds until then."""
    api.postgres.mode = SLOW
    api.product.start("api", "serve", "--socket", str(api.product.listener.fileno()))
    await api.until(422)
    api.postgres.cut()
    answers = await asyncio.gather(*(api.post() for _ in range(5)))
    assert max(took for status, took in answers if status == 503) < WITHIN_S
    await api.until(422)


async def test_an_api_that_loses_its_connections_answers_within_two_seconds(api: Api) -> None:
    """Whether the server refuses new ones, with whatever it says, or is silent; then it goes on."""
    api.product.start("api", "serve", "--socket", str(api.product.listener.fileno()))
    await api.until(422)
    for mode in ("53300", "57P03", "57P01", SILENT):
        api.postgres.mode = mode
        api.postgres.cut()
        answers = await asyncio.gather(*(api.post() for _ in range(5)))
        # The last ones find that no row in a cache is current.
        answers += [await api.post() for _ in range(4)]
        assert {status for status, _ in answers} == {503}, (mode, answers)
        assert max(took for _, took in answers) < WITHIN_S, (mode, answers)
        api.postgres.mode = OPEN
        await api.until(422)
