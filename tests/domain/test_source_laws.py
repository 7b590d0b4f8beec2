"""Laws of all sources: they are total, and their work is in proportion to the steps that are charged."""

import sys
from decimal import Decimal
from types import FrameType
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.conversion.failures import SourceFailed
from app.domain.mapping.pipes import PIPES
from app.domain.mapping.reading import MAX_STEPS, Reading
from app.domain.mapping.sources import Problems, Source, compile_source, unchecked

NAMES: Final = ["a", "b", "c", "price"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", " ", "x", "19,99 €", "1.234,5", "2026-11-28T10:00:00Z", "28.11.2026 10:00", "a,b"]),
    st.text(max_size=20),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)
EVENTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)
PATHS = st.lists(
    st.sampled_from([*(f".{name}" for name in NAMES), "[*]", "[0]", "[-1]"]), min_size=1, max_size=5
).map(lambda steps: "a" + "".join(steps))
ARGUMENTS = st.one_of(SCALARS, PATHS, st.sampled_from([",", ".", "is", "in", "above", "present"]))
STEPS = st.one_of(
    st.sampled_from(list(PIPES)),
    st.tuples(st.sampled_from(list(PIPES)), ARGUMENTS, ARGUMENTS).map(list),
    st.tuples(st.sampled_from(list(PIPES)), ARGUMENTS).map(list),
    st.sampled_from(
        [
            ["sum", "price", "b", {"decimal": ",", "missing": "skip"}],
            ["where", "price", "above", 1],
            ["where", "a", "in", ["x", 1]],
            ["pluck", "a[*].b"],
            ["time", {"formats": ["iso", "D.M.YYYY HH:mm", "epoch_s"], "zone": "Europe/Berlin"}],
            ["map", {"x": 1, "*": None}],
            ["divide", 7],
        ]
    ),
)
PIPED = st.fixed_dictionaries({}, optional={"pipe": st.lists(STEPS, max_size=4)})
TEMPLATES = st.lists(
    st.sampled_from(["x", "{{", "}}", "{", "}"]) | PATHS.map(lambda path: f"{{{path}}}"), max_size=5
).map("".join)
SINGLE = st.one_of(
    st.builds(lambda path, rest: {"path": path, **rest}, PATHS, PIPED),
    st.builds(lambda text, rest: {"template": text, **rest}, TEMPLATES, PIPED),
    SCALARS.map(lambda value: {"const": value}),
)
SOURCES = st.one_of(
    SINGLE,
    st.builds(lambda members, rest: {"first_of": members, **rest}, st.lists(SINGLE, max_size=4), PIPED),
)
CALLS_PER_STEP: Final = 60


@pytest.mark.campaign
@settings(max_examples=1500)
@given(SOURCES, EVENTS)
def test_sources_are_total_and_their_work_is_charged(written: Any, event: dict[str, Any]) -> None:
    """Any event through any source gives a value or a failure, with few function calls for each step."""
    problems = Problems()
    source = compile_source(written, "x", problems, bare="path")
    if source is None:
        assert problems
        assert all(problem.path.startswith("x") for problem in problems)
        return
    reading = Reading(steps_left=MAX_STEPS - source.steps)
    outcome, calls = _counted(source, event, reading)
    assert outcome is None or isinstance(outcome, str | int | Decimal | list | dict | SourceFailed)
    assert calls <= CALLS_PER_STEP * (MAX_STEPS - reading.steps_left)
    assert source.read(event, Reading(), unchecked) == outcome


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
