"""The loop limiter: how much is processed in one iteration of the event loop, and in whose order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.server.loop_limiter import LoopLimiter

KIB = 1024


class Posts:
    """Posts that wait for the limiter; `done` lists them in order, with the iteration in which they went."""

    def __init__(self) -> None:
        self.limiter = LoopLimiter()
        self.iteration = 0
        self.done: list[tuple[str, int]] = []

    def post(self, name: str, cost: int, organisation: str | None = None) -> asyncio.Task[None]:
        async def process() -> None:
            if (turn := self.limiter.enter(cost, organisation)) is not None:
                await turn
            self.done.append((name, self.iteration))

        return asyncio.create_task(process())

    async def run(self, iterations: int) -> list[tuple[str, int]]:
        for _ in range(iterations):
            await asyncio.sleep(0)
            self.iteration += 1
        return self.done


@asynccontextmanager
async def posts() -> AsyncIterator[Posts]:
    yield Posts()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:  # type: ignore[arg-type]
        task.cancel()


def names(done: list[tuple[str, int]]) -> str:
    return "".join(name for name, _ in done)


async def test_small_posts_of_one_iteration_do_not_wait() -> None:
    """32 KiB of cost: sixteen posts of one event."""
    async with posts() as world:
        for _ in range(20):
            world.post("x", 2 * KIB)
        assert len(await world.run(1)) == 16
        assert len(await world.run(3)) == 20


async def test_an_idle_loop_admits_any_post_at_once() -> None:
    """However large; the next one waits for an iteration of its own."""
    async with posts() as world:
        world.post("a", 999 * KIB)
        world.post("b", 1 * KIB)
        assert names(await world.run(1)) == "a"
        assert names(await world.run(3)) == "ab"


async def test_an_iteration_that_is_full_to_the_byte_admits_no_more() -> None:
    async with posts() as world:
        for name, cost in (("a", 32 * KIB - 1), ("b", 1), ("c", 1)):
            world.post(name, cost)
        assert names(await world.run(1)) == "ab"


async def test_posts_that_wait_fill_an_iteration_to_the_byte_and_no_further() -> None:
    async with posts() as world:
        for name, cost in (("a", 64 * KIB), ("b", 32 * KIB), ("c", 1)):
            world.post(name, cost)
        iterations = dict(await world.run(10))
        assert iterations["a"] < iterations["b"] < iterations["c"]


async def test_each_iteration_has_its_own_capacity() -> None:
    """Large posts take one iteration each."""
    async with posts() as world:
        for name in "abcd":
            world.post(name, 64 * KIB)
        done = await world.run(10)
        assert names(done) == "abcd"
        iterations = [iteration for _, iteration in done]
        assert len(set(iterations)) == 4
        world.post("e", 1)
        assert names(await world.run(1)) == "abcde"


async def test_a_small_post_does_not_overtake_those_that_wait() -> None:
    """Even where the current iteration has room."""
    async with posts() as world:
        for name in "abc":
            world.post(name, 40 * KIB)
        await world.run(1)
        world.post("d", 1)
        assert names(await world.run(10)) == "abcd"


async def test_organisations_take_turns() -> None:
    """A flood of one does not delay the other by more than one post."""
    async with posts() as world:
        for name in "abcd":
            world.post(name, 64 * KIB, "flood")
        world.post("q", 64 * KIB, "quiet")
        assert names(await world.run(10)).index("q") <= 2


async def test_a_post_whose_task_was_cancelled_takes_no_capacity() -> None:
    async with posts() as world:
        world.post("a", 64 * KIB)
        gone = world.post("b", 64 * KIB)
        world.post("c", 64 * KIB)
        await world.run(1)
        gone.cancel()
        assert names(await world.run(5)) == "ac"
        iterations = dict(world.done)
        assert iterations["c"] - iterations["a"] <= 2
