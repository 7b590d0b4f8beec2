"""Fair order among owners: who waits for whom."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.pacing.owner_queue import OwnerQueue


def order(*work: tuple[str, float]) -> list[tuple[str, int]]:
    """Return owner and position of each item, as they leave the queue."""
    queue: OwnerQueue[tuple[str, int]] = OwnerQueue()
    for number, (owner, cost) in enumerate(work):
        queue.add(owner, cost, (owner, number))
    return [queue.pop() for _ in work]


class TestTheOrder:
    def test_of_one_owner_is_that_of_arrival(self) -> None:
        assert order(("a", 9), ("a", 1), ("a", 5)) == [("a", 0), ("a", 1), ("a", 2)]

    def test_takes_a_newcomer_after_one_item_of_a_long_queue(self) -> None:
        queue: OwnerQueue[str] = OwnerQueue()
        for _ in range(100):
            queue.add("flood", 10, "flood")
        queue.pop()
        queue.add("quiet", 1, "quiet")
        assert [queue.pop(), queue.pop()] == ["quiet", "flood"]

    def test_gives_owners_the_same_cost(self) -> None:
        first = order(*[("large", 10.0)] * 20, *[("small", 1.0)] * 200)[:110]
        costs = dict.fromkeys(("large", "small"), 0.0)
        for owner, _ in first:
            costs[owner] += 10.0 if owner == "large" else 1.0
        assert abs(costs["large"] - costs["small"]) <= 20

    def test_has_no_memory_of_an_idle_moment(self) -> None:
        queue: OwnerQueue[str] = OwnerQueue()
        queue.add("a", 1_000, "early")
        queue.pop()
        queue.add("a", 1, "a")
        queue.add("b", 1, "b")
        assert [queue.pop(), queue.pop()] == ["a", "b"]

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 100)), max_size=40))
    def test_loses_nothing_and_keeps_the_order_of_each_owner(self, work: list[tuple[str, float]]) -> None:
        left = order(*work)
        assert sorted(number for _, number in left) == list(range(len(work)))
        for owner in "abc":
            numbers = [number for whose, number in left if whose == owner]
            assert numbers == sorted(numbers)

    def test_shows_the_next_item_and_how_many_wait(self) -> None:
        queue: OwnerQueue[str] = OwnerQueue()
        assert len(queue) == 0
        assert not queue
        for item in ("a", "b"):
            queue.add(None, 1, item)
        assert (queue.first(), len(queue)) == ("a", 2)
        assert (queue.pop(), queue.first(), len(queue)) == ("a", "b", 1)

    def test_of_equal_turns_is_that_of_arrival(self) -> None:
        assert order(("b", 1), ("a", 1), ("c", 1)) == [("b", 0), ("a", 1), ("c", 2)]
        assert order(("b", 2), ("a", 2), ("b", 2), ("a", 2)) == [("b", 0), ("a", 1), ("b", 2), ("a", 3)]

    def test_of_an_owner_that_returns_starts_where_the_queue_is(self) -> None:
        """What it did not use earlier is no credit."""
        queue: OwnerQueue[str] = OwnerQueue()
        for number in range(6):
            queue.add("busy", 10, f"busy {number}")
        for _ in range(3):
            queue.pop()
        queue.add("late", 10, "late 0")
        queue.add("late", 10, "late 1")
        assert [queue.pop() for _ in range(5)] == ["late 0", "busy 3", "late 1", "busy 4", "busy 5"]


class TestWithoutAnOwner:
    def test_the_next_item_is_that_of_another(self) -> None:
        queue: OwnerQueue[str] = OwnerQueue()
        for owner in ("flood", "flood", "quiet", "other"):
            queue.add(owner, 1, owner)
        assert queue.first({"flood"}) == "quiet"
        assert [queue.pop({"flood"}), queue.pop({"flood"})] == ["quiet", "other"]
        assert queue.first({"flood"}) is None
        assert [queue.pop(), queue.pop(), len(queue)] == ["flood", "flood", 0]

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 100)), max_size=40),
        st.lists(st.sets(st.sampled_from("abc")), max_size=80),
    )
    def test_nothing_is_lost_and_each_keeps_its_order(
        self, work: list[tuple[str, float]], excluded: list[set[str]]
    ) -> None:
        queue: OwnerQueue[tuple[str, int]] = OwnerQueue()
        for number, (owner, cost) in enumerate(work):
            queue.add(owner, cost, (owner, number))
        left = []
        for names in excluded:
            if (first := queue.first(names)) is not None:
                assert first[0] not in names
                left.append(queue.pop(names))
                assert left[-1] == first
        left += [queue.pop() for _ in range(len(queue))]
        assert sorted(number for _, number in left) == list(range(len(work)))
        for owner in "abc":
            numbers = [number for whose, number in left if whose == owner]
            assert numbers == sorted(numbers)
        assert not queue.owners


def test_the_cost_of_an_owner_is_that_of_its_waiting_items() -> None:
    queue: OwnerQueue[str] = OwnerQueue()
    for cost in (5, 7, 11):
        queue.add("a", cost, "a")
    assert queue.cost_of("a") == 23
    queue.pop()
    assert (queue.cost_of("a"), queue.cost_of("b")) == (18, 0)
