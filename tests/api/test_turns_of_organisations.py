"""What the loop limiter lets be processed in one iteration, and who waits."""

import asyncio

from app.server.loop_limiter import LoopLimiter

LARGE, SMALL = 64 * 1024, 3_000


async def started(*tasks: "asyncio.Task[None]") -> list[bool]:
    """Return which of these were let through after one step of each."""
    await asyncio.sleep(0)
    return [task.done() for task in tasks]


def acquire(limiter: LoopLimiter, cost: int, organisation: str) -> "asyncio.Task[None]":
    async def acquire() -> None:
        if (turn := limiter.enter(cost, organisation)) is not None:
            await turn

    return asyncio.create_task(acquire())


class TestAnIterationThatIsFull:
    async def test_lets_posts_wait(self) -> None:
        limiter = LoopLimiter()
        tasks = [acquire(limiter, LARGE, "flood") for _ in range(3)]
        assert await started(*tasks) == [True, False, False]
        await asyncio.gather(*tasks)

    async def test_takes_a_small_post_of_another_organisation(self) -> None:
        """Whether posts wait or not; but not a second one, and no large one."""
        for waiting in (0, 2):
            limiter = LoopLimiter()
            flood = [acquire(limiter, LARGE, "flood") for _ in range(1 + waiting)]
            quiet = [acquire(limiter, SMALL, "quiet") for _ in range(2)]
            other = acquire(limiter, LARGE, "other")
            assert await started(flood[0], *quiet, other) == [True, True, False, False]
            await asyncio.gather(*flood, *quiet, other)

    async def test_takes_no_small_post_of_the_same_organisation(self) -> None:
        limiter = LoopLimiter()
        tasks = [acquire(limiter, cost, "flood") for cost in (LARGE, SMALL)]
        assert await started(*tasks) == [True, False]
        await asyncio.gather(*tasks)

    async def test_keeps_the_order_of_an_organisation(self) -> None:
        """A small post does not overtake a large one that waits."""
        limiter = LoopLimiter()
        flood = acquire(limiter, LARGE, "flood")
        large, small = acquire(limiter, LARGE, "quiet"), acquire(limiter, SMALL, "quiet")
        assert await started(flood, large, small) == [True, False, False]
        await asyncio.gather(flood, large, small)


async def test_a_cancelled_post_frees_its_turn() -> None:
    limiter = LoopLimiter()
    tasks = [acquire(limiter, LARGE, "a") for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait_for(tasks[2], 1)
