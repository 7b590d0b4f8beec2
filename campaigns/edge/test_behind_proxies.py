"""The service behind real nginx and real HAProxy: no response, and no request, ever reaches another caller.

The long form, with HAProxy too and without buffering, is `./run campaign proxies --requests 100000 --seed 1`.
"""

import asyncio
import contextlib
from pathlib import Path

import pytest

from campaigns.edge.traffic import NO_KEY, Channel, reconcile, run, smuggling
from tests.edge.cases import CASES, head
from tests.edge.proxies import haproxy, nginx
from tests.edge.service import EdgeService
from tests.pipeline.processes import ADMIN

REQUESTS = 900


LONG = pytest.mark.long


def test_every_response_belongs_to_its_request(service: EdgeService, tmp_path: Path) -> None:
    """Several callers, an operator and attackers at once; what is stored is what was answered 202."""
    with nginx(service.port, tmp_path) as port:
        ledger = asyncio.run(run(service, port, requests=REQUESTS, seed=port))
    totals = reconcile(service, ledger)
    assert not ledger.problems, "\n".join(ledger.problems[:20])
    assert totals["accepted"] > REQUESTS / 4
    assert min(ledger.hostile.values()) > 10


@pytest.mark.parametrize("kind", ["keys", pytest.param("delete", marks=LONG)])
def test_an_upgrade_smuggles_nothing(service: EdgeService, tmp_path: Path, kind: str) -> None:
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
            seen = await victim.ask(head(*fields, method="GET", target="/catalog"))
            attacker.close()
            victim.close()
            assert seen is not None
            assert b"event_types" in seen.body, (attempt, seen.status, seen.body[:200])

    with nginx(service.port, tmp_path, kept=1) as port:
        asyncio.run(attack(port))
    assert service.call("GET", f"/destinations/{target}")["state"] == "active"


@pytest.mark.parametrize("name", [pytest.param("nginx", marks=LONG), "haproxy"])
def test_the_next_caller_is_served_after_every_request_of_the_table(
    service: EdgeService, tmp_path: Path, name: str
) -> None:
    """An attacker without a key sends each of them; the next caller on the kept connection is served."""
    victim = service.callers[1]

    async def attack(port: int) -> list[str]:
        failed = []
        for case in CASES:
            if len(case.request) > 20_000:
                continue
            attacker, caller = Channel(port), Channel(port)
            request = case.of(key=NO_KEY, destination=victim.destination, event_id="h000000000")
            with contextlib.suppress(TimeoutError, ValueError, OSError):
                await asyncio.wait_for(attacker.ask(request, is_head=case.head), 0.2)
            attacker.close()
            fields = ("Host: edge", f"X-Api-Key: {victim.key}", "X-Request-Id: next")
            answering = caller.ask(head(*fields, method="GET", target="/destinations"))
            try:
                response = await asyncio.wait_for(answering, 4)
            except TimeoutError:
                response = None
            caller.close()
            if response is None or response.status != 200 or response.request_id != "next":
                failed.append(f"{case.name}: {response.status if response else 'no response'}")
            elif victim.destination.encode() not in response.body:
                failed.append(f"{case.name}: somebody else's response")
        return failed

    in_front = nginx(service.port, tmp_path, kept=1) if name == "nginx" else haproxy(service.port, tmp_path)
    with in_front as port:
        assert asyncio.run(attack(port)) == []
