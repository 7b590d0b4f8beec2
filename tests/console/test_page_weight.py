"""Every page stays light and quick with much stored."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.console.showcase import furnish
from tests.console.weight import MOST_BYTES, MOST_MS, Weighed, fill, make_room, weigh
from tests.pipeline.processes import Product

EVENTS, DESTINATIONS = 40_000, 1_000


def run(action: Coroutine[Any, Any, Any]) -> Any:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, action).result()


def test_every_page_is_light_and_quick(product: Product) -> None:
    """In an instance that took its past one event at a time, which is the hardest on lists.

    Light: below 100 kB on the wire, style sheets and scripts included, which the browser fetches once.
    Quick: below 200 ms of CPU time, of the process and of Postgres together, at the best of some tries.
    """
    dsn = product.database_url.replace("+asyncpg", "", 1)
    run(make_room(dsn, EVENTS))
    cast = furnish(product, dsn, posts=4)  # the past has requests enough
    run(fill(dsn, cast, events=EVENTS, destinations=DESTINATIONS))
    weighed: list[Weighed] = run(weigh(product, dsn, cast))
    assert {one.name: one.whole for one in weighed if one.whole > MOST_BYTES} == {}
    assert {one.name: one.cpu_ms for one in weighed if one.cpu_ms > MOST_MS} == {}
