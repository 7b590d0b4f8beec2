"""The thread for long computations: the loop stays free, and each organisation waits for its own."""

import asyncio
import threading

from app.admin.context import ComputationThread
from app.domain.ids import OrganisationId

OURS, THEIRS = OrganisationId("ours"), OrganisationId("theirs")


async def test_a_computation_runs_outside_the_event_loop() -> None:
    """With its arguments; its error is raised where it was requested."""
    thread = ComputationThread()
    assert await thread.run(OURS, threading.get_ident) != threading.get_ident()
    assert await thread.run(OURS, int, "11", base=2) == 3
    try:
        await thread.run(OURS, int, "x")
    except ValueError:
        return
    raise AssertionError("the error is lost")


async def test_an_organisation_waits_for_at_most_one_computation_of_another() -> None:
    """However many the other requested before."""
    thread, order = ComputationThread(), list[str]()
    release = threading.Event()
    requests = [
        asyncio.create_task(thread.run(THEIRS, release.wait, 20)),
        *(asyncio.create_task(thread.run(THEIRS, order.append, f"theirs {number}")) for number in range(5)),
    ]
    await asyncio.sleep(0)
    requests.append(asyncio.create_task(thread.run(OURS, order.append, "ours")))
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(*requests)
    assert order[0] == "ours"
    assert order[1:] == [f"theirs {number}" for number in range(5)]
