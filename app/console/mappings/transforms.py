"""The functions of a pipe as the mapping form explains them, each with an example. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Final

from app.console.mappings.text import json_text, write_pipe
from app.domain.mapping.pipes import PIPES, make_step, run
from app.domain.mapping.reading import Reading
from app.domain.mapping.steps import StepProblem

_MAX_EXAMPLE: Final = 44  # characters; the result of `sha256_lower` has more
# For each form of a function, a value to which the example applies it.
_VALUES: Final[Mapping[str, tuple[Any, ...]]] = {
    "trim": (" Ada ",),
    "lower": ("Ada",),
    "upper": ("us",),
    "digits": ("+1 (555) 010-0199",),
    "slug": ("Running Shoes", "Running Shoes"),
    "title": ("ada lovelace",),
    "split": ("red,blue",),
    "substring": ("10115-2000",),
    "replace": ("banana",),
    "map": ("a",),
    "to_number": ("19.99", "1.234,56 €"),
    "round": (Decimal("19.995"),),
    "abs": (-3,),
    "multiply": (1999,),
    "divide": (1999,),
    "add": (5,),
    "to_string": (10115,),
    "to_bool": ("yes",),
    "time": ("24.11.2026 10:00:00",),
    "epoch_s": (1795514400,),
    "epoch_ms": (1795514400000,),
    "date": ("2026-11-24T10:00:00Z", "2026-11-24T10:00:00Z"),
    "sha256_lower": ("Ada@Example.com",),
    "first": (["red", "blue"],),
    "last": (["red", "blue"],),
    "join": (["red", "blue"],),
    "count": (["red", "blue"],),
    "unique": (["red", "blue", "red"],),
    "pluck": ([{"price": 5}, {"price": 7}],),
    "sum": ([5, 7], [{"price": "1,50", "quantity": 2}]),
    "min": ([5, 7],),
    "max": ([5, 7],),
    "where": ([{"category": "Shoes"}, {"category": "Hats"}],),
}


@dataclass(frozen=True, slots=True)
class Transform:
    """A function of a pipe as it is typed, its help text, and an example of a value and its result."""

    text: str
    help: str
    value: str
    result: str


@cache
def transforms() -> tuple[Transform, ...]:
    """Return the functions of a pipe in their order."""
    return tuple(
        _transform(json.loads(form), pipe.help, value)
        for pipe in PIPES.values()
        for form, value in zip(pipe.form.split(" or "), _VALUES[pipe.name], strict=True)
    )


def _transform(written: Any, help_text: str, value: Any) -> Transform:
    step = make_step(written)
    assert not isinstance(step, StepProblem)
    result = json_text(run((step,), value, Reading()))
    shown = result if len(result) <= _MAX_EXAMPLE else f"{result[:12]}…"
    return Transform(write_pipe([written]), help_text, json_text(value), shown)
