"""What the loop limiter lets be processed in one iteration, and who waits."""

import asyncio

import pytest

from app.server.loop_limiter import BUSY_PART, SMALL_POST_SECONDS, LoopLimiter

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
    await asyncio.wait_for(tasks[2], 30)


class Clocks:
    """The elapsed and the CPU time of a process, set by a test."""

    def __init__(self) -> None:
        self.elapsed = self.cpu = 1_000.0

    def limiter(self) -> LoopLimiter:
        return LoopLimiter(lambda: self.elapsed, lambda: self.cpu)

    def use(self, seconds: float) -> None:
        self.elapsed += seconds
        self.cpu += seconds


class TestAPause:
    """Large posts of an organisation pause while another one sends small posts."""

    async def test_begins_when_the_part_is_used(self) -> None:
        clocks = Clocks()
        limiter = clocks.limiter()
        quiet, flood = acquire(limiter, SMALL, "quiet"), acquire(limiter, LARGE, "flood")
        assert await started(quiet, flood) == [True, True]
        clocks.use(0.1)
        await asyncio.sleep(0)
        large, small = acquire(limiter, LARGE, "flood"), acquire(limiter, SMALL, "quiet")
        assert await started(large, small) == [False, True]
        await asyncio.sleep(0)
        assert not large.done()  # a new iteration does not end the pause
        await asyncio.wait_for(large, 5)  # its end does, although no time passed on these clocks

    @pytest.mark.parametrize("sender", ["flood", None])
    async def test_needs_small_posts_of_another_organisation(self, sender: str | None) -> None:
        """None were sent, or by the same organisation."""
        clocks = Clocks()
        limiter = clocks.limiter()
        if sender is not None:
            await acquire(limiter, SMALL, sender)
        await asyncio.sleep(0)
        clocks.use(0.1)
        large = acquire(limiter, LARGE, "flood")
        assert await started(large) == [True]

    async def test_is_not_begun_for_an_organisation_that_sent_long_ago(self) -> None:
        clocks = Clocks()
        limiter = clocks.limiter()
        await acquire(limiter, SMALL, "quiet")
        await asyncio.sleep(0)
        clocks.use(SMALL_POST_SECONDS + 1)
        assert await started(acquire(limiter, LARGE, "flood")) == [True]

    async def test_is_not_begun_while_the_process_has_time(self) -> None:
        clocks = Clocks()
        limiter = clocks.limiter()
        for _ in range(10):
            await acquire(limiter, SMALL, "quiet")
            await asyncio.sleep(0)
            assert await started(acquire(limiter, LARGE, "flood")) == [True]
            clocks.use(0.9 * BUSY_PART * 0.01)
            clocks.elapsed += (1 - 0.9 * BUSY_PART) * 0.01
            await asyncio.sleep(0)

    async def test_protects_each_of_several_organisations(self) -> None:
        """The flood may also send small posts, and two others send many events."""
        clocks = Clocks()
        limiter = clocks.limiter()
        for sender in ("quiet", "flood", "flood"):
            await acquire(limiter, SMALL, sender)
            await asyncio.sleep(0)
        clocks.use(0.1)
        tasks = [acquire(limiter, LARGE, sender) for sender in ("flood", "other")]
        assert await started(*tasks) == [False, False]
        await asyncio.wait_for(asyncio.gather(*tasks), 5)

    async def test_lets_all_posts_proceed_in_order_while_others_are_cancelled(self) -> None:
        clocks = Clocks()
        limiter = clocks.limiter()
        await acquire(limiter, SMALL, "quiet")
        await asyncio.sleep(0)
        clocks.use(0.1)
        tasks = [acquire(limiter, LARGE, "flood") for _ in range(6)]
        assert await started(*tasks) == [False] * 6
        for task in (tasks[0], tasks[3]):
            task.cancel()
        done = []
        for number in (1, 2, 4, 5):
            tasks[number].add_done_callback(lambda _, number=number: done.append(number))
        await asyncio.wait_for(asyncio.gather(*(tasks[number] for number in (1, 2, 4, 5))), 5)
        assert done == [1, 2, 4, 5]
