"""Laws of all sources: they are total, and their work is in proportion to the steps that are charged."""

import random
import sys
from decimal import Decimal
from types import FrameType
from typing import Any, Final

import pytest

from app.domain.mapping.pipes import PIPES
from app.domain.mapping.reading import MAX_STEPS, Reading, SourceFailed
from app.domain.mapping.sources import Problems, Source, compile_source, unchecked
from tests.domain.random_pairs import random_event, random_source, random_value

CALLS_PER_STEP: Final = 60


def written_source(rng: random.Random) -> Any:
    """Return a source as somebody writes it: of the language, or with steps whose arguments are anything."""
    source = random_source(rng, rng.choice(("items", "items[*].price", "event.total", "user", "a[")))
    if rng.random() < 0.5:
        words = (",", ".", "is", "in", "above", "present", "price", "items[*].name")
        source["pipe"] = [
            [rng.choice([*PIPES]), *rng.choices((*words, random_value(rng)), k=rng.randrange(3))]
            for _ in range(rng.randrange(1, 4))
        ]
    return source


@pytest.mark.campaign
def test_sources_are_total_and_their_work_is_charged() -> None:
    """Any event through any source gives a value or a failure, with few function calls for each step."""
    rng, compiled = random.Random(1), 0
    for _ in range(6_000):
        written, event, problems = written_source(rng), random_event(rng), Problems()
        source = compile_source(written, "x", problems, bare="path")
        if source is None:
            assert problems, written
            assert all(problem.path.startswith("x") for problem in problems), (written, problems)
            continue
        compiled += 1
        reading = Reading(steps_left=MAX_STEPS - source.steps)
        outcome, calls = _counted(source, event, reading)
        assert outcome is None or isinstance(outcome, str | int | Decimal | list | dict | SourceFailed), (
            written
        )
        assert calls <= CALLS_PER_STEP * (MAX_STEPS - reading.steps_left), (written, event)
        assert source.read(event, Reading(), unchecked) == outcome, (written, event)
    assert 2_000 < compiled < 5_000


def _counted(source: Source, event: dict[str, Any], reading: Reading) -> tuple[Any, int]:
    """Return the value of a source, and the number of function calls that it took."""
    calls = 0

    def count(_frame: FrameType, kind: str, _argument: Any) -> None:
        nonlocal calls
        calls += kind in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        outcome = source.read(event, reading, unchecked)
    finally:
        sys.setprofile(before)
    return outcome, calls


@pytest.mark.parametrize(
    "pipe",
    [
        [["sum", "p", "q", "r", {"decimal": ","}]],
        ["unique"],
        [["where", "p", "in", [str(number) for number in range(50)]]],
        [["where", "r", "not_in", [str(number) for number in range(50)]]],
        [["where", "r[*]", "is", 2]],
        [["pluck", "p"], "sum"],
        [["pluck", "p"], "unique", "join"],
    ],
)
def test_a_long_list_takes_no_more_than_its_steps(pipe: list[Any]) -> None:
    """The work of an event has a limit, whatever its lists hold."""
    source = compile_source({"path": "list", "pipe": pipe * 3}, "x", Problems(), bare="path")
    assert source is not None
    for members in (100, 2_000, 20_000):
        reading = Reading(steps_left=MAX_STEPS - source.steps)
        event = {"list": [{"p": "1.234,5 €", "q": "x" * 10, "r": [1] * 10}] * members}
        _, calls = _counted(source, event, reading)
        assert calls <= CALLS_PER_STEP * MAX_STEPS
