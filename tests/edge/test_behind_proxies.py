"""The service behind real nginx and real HAProxy: no response, and no request, ever reaches another caller.

The long form is `python -m tests.edge.campaign --requests 100000 --seed 1`.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.cases import head
from tests.edge.proxies import haproxy, nginx
from tests.edge.service import ADMIN, Service
from tests.edge.traffic import Channel, reconcile, run, smuggling

REQUESTS = 900


@pytest.fixture(params=["nginx", "nginx without buffering", "haproxy"])
def proxy(service: Service, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a proxy in front of the service."""
    if request.param == "haproxy":
        with haproxy(service.port, tmp_path) as port:
            yield port
    else:
        with nginx(service.port, tmp_path, buffering=request.param == "nginx") as port:
            yield port


def test_every_response_belongs_to_its_request(service: Service, proxy: int) -> None:
    """Several callers, an operator and attackers at once; what is stored is what was answered 202."""
    seed = proxy  # a port is not used twice, so that ids are not either
    ledger = asyncio.run(run(service, proxy, requests=REQUESTS, seed=seed))
    totals = reconcile(service, ledger, seed)
    assert not ledger.problems, "\n".join(ledger.problems[:20])
    assert totals["accepted"] > REQUESTS / 4
    assert min(ledger.hostile.values()) > 10


@pytest.mark.parametrize("kind", ["keys", "delete"])
def test_an_upgrade_smuggles_nothing(service: Service, tmp_path: Path, kind: str) -> None:
    """The proof of concept of request smuggling, with one connection that all share.

    The attacker holds no key; the victim is an operator, whose next request would complete the attacker's.
    """
    target = service.callers[-1].destination

    async def attack(port: int) -> None:
        for attempt in range(24):
            attacker, victim = Channel(port), Channel(port)
            answer = await attacker.ask(smuggling(kind, 10_000 + 2_600 * attempt, target))
            assert answer is not None
            assert answer.status in (400, 401)
            fields = ("Host: edge", f"X-Api-Key: {ADMIN}", "X-Request-Id: victim")
            request = head(*fields, method="GET", target="/catalog")
            seen = await victim.ask(request)
            attacker.close()
            victim.close()
            assert seen is not None
            assert b"event_types" in seen.body, (attempt, seen.status, seen.body[:200])

    with nginx(service.port, tmp_path, kept=1) as port:
        asyncio.run(attack(port))
    assert service.call("GET", f"/destinations/{target}")["state"] == "active"
