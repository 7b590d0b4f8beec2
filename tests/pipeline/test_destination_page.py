"""The overview of a destination: no green above a red diagnosis, and a fault's true beginning."""

import re
from typing import Any

import pytest

from app.store.destinations import outcome_history
from tests.pipeline.service import Service
from tests.pipeline.world import event


async def test_green_never_stands_above_a_red_diagnosis(service: Service) -> None:
    """And the figures of the lane agree with it."""
    world = service.world
    dst = await world.destination()
    await world.post(dst, event(1))
    await world.fetch(
        "UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked', updated_at = now()"
    )
    page = await service.console(f"/destinations/{dst}")
    assert "access was revoked" in page
    assert 'class="notice good"' not in page
    assert page.count("Nothing is sent until the destination is reconnected.") == 3


async def test_another_observed_currency_is_offered(service: Service) -> None:
    """The diagnosis names both, and a button changes the destination's."""
    world = service.world
    dst = await world.destination()
    await world.fetch("INSERT INTO amazon_accounts (destination, currency) VALUES ($1, 'CAD')", dst)
    page = await service.console(f"/destinations/{dst}")
    assert "currency is CAD, but this destination uses USD" in page
    assert ">Change to CAD</button>" in page


async def test_a_fault_began_with_its_first_request(service: Service) -> None:
    """Not with the oldest of the newest twenty, and not before the last answered one."""
    world = service.world
    dst = await world.destination()
    await world.post(dst, event(1))
    await world.fetch(
        "INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation,"
        "  started_at, settled_at, outcome) "
        "SELECT 1000 + n, (now() AT TIME ZONE 'UTC')::date, d.lane, d.number, 1, 'w', '{}', 1, 1,"
        "  now() - n * interval '1 minute', now() - n * interval '1 minute',"
        "  CASE n WHEN 50 THEN 'answered' ELSE 'broken' END "
        "FROM destinations d, generate_series(1, 60) n WHERE d.id = $1",
        dst,
    )
    ((first,),) = await world.fetch("SELECT started_at FROM attempts WHERE id = 1049")
    page = await service.console(f"/destinations/{dst}")
    assert 'class="notice good"' not in page
    assert page.index("The last 49 requests failed.") < page.index("Connected to Amazon")
    assert f'Since <time datetime="{first.isoformat()}"' in page


async def test_the_figures_of_a_page_are_of_one_moment(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that is accepted between two statements is in none of them: no part exceeds the whole."""
    world = service.world
    dst = await world.destination()
    await world.post(dst, event(1))
    read, later = outcome_history.buckets, [event(2)]

    async def read_slowly(*arguments: Any, **options: Any) -> Any:
        found = await read(*arguments, **options)
        if later:
            await world.post(dst, later.pop())
        return found

    monkeypatch.setattr(outcome_history, "buckets", read_slowly)
    page = await service.console(f"/destinations/{dst}")
    assert not later
    assert re.search(r"<b>1</b><span>Accepted", page)
    assert "1 accepted = " in page
