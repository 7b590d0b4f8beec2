"""A dead event says who can help: the customer, by mending what it says, or the operator of what failed."""

from typing import get_args

import httpx
import pytest

from app.domain.outcomes.outcome import (
    Divisible,
    ItemFailed,
    ItemRefused,
    ItemUnknown,
    PerItemReply,
    Unexpected,
)
from app.domain.outcomes.reasons import DEAD_LETTERS, REASONS, DeadLetter
from app.domain.outcomes.settle import Dead, Disposition, PerItem, RetryPolicy, settle
from app.processes import api
from app.processes.resources import open_resources
from tests.pipeline.amazon import FakeAmazon
from tests.pipeline.processes import ADMIN
from tests.pipeline.world import World, event, settings_of

REFUSED = {"index": 0, "errors": [{"code": "FIELD_VALUE_IS_INVALID", "message": "no"}]}


def test_every_reason_of_a_death_has_a_class() -> None:
    """Whatever Amazon answers; and no class is of a reason that does not exist."""
    assert DEAD_LETTERS.keys() <= REASONS.keys()
    assert Dead in get_args(Disposition)
    replies = (
        Divisible("c", "m"),
        Unexpected(418, "c", "m"),
        PerItemReply((ItemRefused("c", "m"),)),
        PerItemReply((ItemFailed("c", "m"),)),
        PerItemReply((ItemUnknown("missing_index"),)),
    )
    for reply in replies:
        settled = settle(reply, [1_000], policy=RetryPolicy(), jitter=0.5)  # it was tried often enough
        assert isinstance(settled, PerItem)
        (disposition,) = settled.dispositions
        assert isinstance(disposition, Dead)
        assert disposition.reason in DEAD_LETTERS


@pytest.mark.parametrize(
    ("answer", "reason", "dead_letter"),
    [
        pytest.param(
            httpx.Response(207, json={"success": [], "error": [REFUSED]}),
            "amazon_refused",
            DeadLetter.CUSTOMER,
            id="Amazon refused what it says",
        ),
        pytest.param(
            httpx.Response(418, json={}),
            "amazon_unexpected",
            DeadLetter.SYSTEM,
            id="an unforeseen answer",
        ),
    ],
)
async def test_figures_and_trace_tell_the_class(
    database_url: str, answer: httpx.Response, reason: str, dead_letter: DeadLetter
) -> None:
    """Beside the reason and its remedy."""
    settings = settings_of(database_url, bootstrap_admin_key=ADMIN)
    async with (
        open_resources(settings, role="test", pool_size=10) as resources,
        api.build_application(resources) as application,
    ):
        world = World(resources, FakeAmazon(), application.state.context.intake, database_url)
        world.amazon.script = lambda _: answer
        dst = await world.destination()
        await world.post(dst, event(1))
        world.work()
        try:
            await world.until(dst, dead=1)
        finally:
            await world.stop_workers()
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://x", headers={"X-Api-Key": ADMIN}
        ) as client:
            stats = (await client.get(f"/destinations/{dst}/stats")).json()
            trace = (await client.get("/events/ord-1", params={"destination_id": dst})).json()
    (row,) = stats["dead_letters"]
    assert (row["reason"], row["class"]) == (reason, dead_letter)
    assert (trace["reason"], trace["dead_letter"]) == (reason, dead_letter)
