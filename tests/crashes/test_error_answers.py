"""Every call to the database may answer with an error: each is tried with each, and nothing is lost at any.

The workload is that of the crash points. The process lives on: it must meet the error, repeat or report what
it could not do, and make progress in a few steps.
"""

import os
import random
from collections.abc import Iterator, Sequence

from tests.crashes.amazon import StandIn
from tests.crashes.fuse import Answer, Fuse
from tests.crashes.judge import judge
from tests.crashes.rehearsal import Rehearsal, rehearse
from tests.crashes.test_crash_points import POISON, POSTS, begin_anew, moody

# `./run test` tries each answer at one call, the same one each time; CHAOS=full tries each at all calls, and
# CHAOS_ANSWERS=XX001,57P01 only these.
IS_FULL = os.environ.get("CHAOS") == "full"
CHOSEN = [one for one in os.environ.get("CHAOS_ANSWERS", "").split(",") if one]
MOST_STEPS = 30  # a usual run needs about twelve


async def perform(stage: Rehearsal, dst: str, fuse: Fuse) -> int:
    """One life that meets the error and goes on; returns how many steps its worker needed."""
    stage.amazon.requests.clear()
    stage.amazon.received = 0
    async with stage.life(fuse) as life:
        for post in (*POSTS, ("fresh",)):
            for _ in range(3):
                if await life.post(dst, *post):
                    break
            else:
                raise AssertionError(f"{post} was not accepted at the third time")
            await life.deliver(steps=2)
        await life.deliver()
    stage.evidence.guilty.add(POISON)
    return life.steps


def points(calls: Sequence[int]) -> Iterator[tuple[Answer, int]]:
    """Yield what is tried: an answer, and the number of the call that gives it."""
    luck = random.Random(1)
    for answer in Answer:
        if CHOSEN and answer.value not in CHOSEN:
            continue
        for n in calls if IS_FULL else [luck.choice(calls)]:
            yield answer, n


async def test_nothing_is_lost_whichever_call_answers_with_an_error(database_url: str) -> None:
    """For each n: nothing lost or doubled, no event dead without a cause, and progress in a few steps."""
    async with rehearse(database_url, StandIn(moody)) as stage:
        uncut = Fuse()
        await perform(stage, await stage.destination(), uncut)
        assert judge(await stage.evaluated()) == []
        calls = [n for n, call in enumerate(uncut.calls, start=1) if not call.startswith("POST /")]
        assert len(calls) > 60
        failed, met = [], 0
        for answer, n in points(calls):
            begin_anew(stage)
            fuse = Fuse(at=n, how=answer)
            where = f"{answer.value} at call {n}"
            try:
                steps = await perform(stage, await stage.destination(), fuse)
            except (AssertionError, MemoryError) as error:
                failed.append(f"{where} ({fuse.calls[n - 1]}): {type(error).__name__} {error}")
                continue
            met += fuse.blown  # what is asked in the background differs from run to run
            where = f"{where} ({fuse.calls[min(n, len(fuse.calls)) - 1]})"
            failed += [f"{where}: {objection}" for objection in judge(await stage.evaluated())]
            if steps > MOST_STEPS:
                failed.append(f"{where}: {steps} steps until everything was delivered")
        assert failed == []
        assert met > 0
