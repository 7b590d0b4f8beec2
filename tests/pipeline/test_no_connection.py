"""Without a connection to Postgres callers are answered 503 within two seconds, by a starting process too.

Between the API and Postgres stands a listener that answers in its place, as a server does that has no
connection left, or starts, or is stopped; that says nothing at all; or that lets everybody through.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.pipeline.processes import ADMIN, Product
from tests.pipeline.tcp_proxy import Proxy

OPEN, SILENT, SLOW = "open", "silent", "slow"
WITHIN_S = 2.0
HANDSHAKE_S = 3.0  # of the mode SLOW


class UnwillingPostgres(Proxy):
    """Answers new connections by `mode`: OPEN, SILENT, SLOW, or a SQLSTATE."""

    mode = OPEN

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == SLOW:
            await asyncio.sleep(HANDSHAKE_S)
        if self.mode in (OPEN, SLOW):
            await super()._accept(reader, writer)
            return
        self._open.add(writer)
        if self.mode == SILENT:
            return
        while b"user" not in (received := await reader.read(1024)):
            if not received:
                return
            writer.write(b"N")  # no TLS
        fields = b"SFATAL\0VFATAL\0C" + self.mode.encode() + b"\0Mno\0\0"
        writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        writer.close()


@dataclass
class Api:
    product: Product
    postgres: UnwillingPostgres
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


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    postgres = UnwillingPostgres(urlsplit(database_url).port or 0)
    await postgres.start()
    async with httpx.AsyncClient(timeout=20) as client:
        product = Product(postgres.address(database_url) + "?sslmode=disable", tmp_path / "log.txt")
        yield Api(product, postgres, client)
        await asyncio.to_thread(product.close)
    await postgres.close()


@pytest.mark.parametrize("mode", ["53300", SILENT])
async def test_an_api_that_starts_without_a_connection_answers_at_once_and_serves_when_it_has_one(
    api: Api, mode: str
) -> None:
    """Callers used to hang behind its open listener until they gave up."""
    api.postgres.mode = mode
    api.product.serve("api")
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
    api.product.serve("api")
    await api.until(422)
    api.postgres.reset()
    answers = await asyncio.gather(*(api.post() for _ in range(5)))
    assert max(took for status, took in answers if status == 503) < WITHIN_S
    await api.until(422)


async def test_an_api_that_loses_its_connections_answers_within_two_seconds(api: Api) -> None:
    """Whether the server refuses new ones, with whatever it says, or is silent; then it goes on."""
    api.product.serve("api")
    await api.until(422)
    for mode in ("53300", "57P03", "57P01", SILENT):
        api.postgres.mode = mode
        api.postgres.reset()
        answers = await asyncio.gather(*(api.post() for _ in range(5)))
        # The last ones find that no row in a cache is current.
        answers += [await api.post() for _ in range(4)]
        assert {status for status, _ in answers} == {503}, (mode, answers)
        assert max(took for _, took in answers) < WITHIN_S, (mode, answers)
        api.postgres.mode = OPEN
        await api.until(422)
