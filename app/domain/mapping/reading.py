"""Reading a value of an event: why it cannot be used, the work that is left, and the steps of a pipe.

The sources of one event share a `Reading`. Every reader returns the value or `SourceFailed`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Final

import msgspec

# --- Failures -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """Why a value of an event cannot be used. `reason` is a key of `INGEST_REASONS`.

    `sentence` completes "<field> is mapped to <path>, which …" and never contains the value. `drop` is the
    reason that a dropped match key is counted with, if it is another one.
    """

    reason: str
    sentence: str
    drop: str = ""


class Invented(str):
    """A text that stands for a text of an event of which no character is stored, in a backtest.

    It is a subclass, so that `type(value) is str` is false: code that reads the characters must decide what
    it does.
    """

    is_numeric = False  # its characters have the form of the event's number, so that they may be read
    is_present = True  # in the event, for certain
    as_is: object = None
    """A value that every check treats like the event's if no step changes it, or None."""

    def is_equal(self, text: str) -> bool | None:
        """Return whether the event's text is this one; None if that is unknown."""
        return None


# The result if it depends on a text that is not stored. Conversions of real events never have it.
UNCLEAR: Final = SourceFailed("unclear", "is not stored, and the result depends on it")
OVER_BUDGET: Final = SourceFailed("transform_failed", "takes more work than one event may use")

_JSON_TYPES: Final = {bool: "a boolean", str: "a text", dict: "an object", list: "a list", type(None): "null"}


def wrong_type(value: object, expectation: str) -> SourceFailed:
    """Return the failure for a value of the wrong JSON type. An `expectation` is "a text is expected"."""
    if isinstance(value, Invented):
        return UNCLEAR
    return SourceFailed("wrong_type", f"is {_JSON_TYPES.get(type(value), 'a number')}, where {expectation}")


# --- Work -----------------------------------------------------------------------------------------

MAX_MEMBERS: Final = 2_000  # list members that are read for one event
MAX_STEPS: Final = 20_000  # pipe steps, sources, checks and list members of one event
SHORT_TEXT: Final = 64  # characters of a text that costs no further steps
CHARACTERS_PER_STEP: Final = 12  # of a longer one


class Reading(msgspec.Struct, eq=False):
    """The work budget and the notes of one event.

    A plan knows its own steps when it is compiled: they are charged once for each event. Only lists and long
    texts are charged while they are read. `notes` has the warnings of the field that is being read; the plan
    empties it. `lists` are those whose members are charged.
    """

    steps_left: int = MAX_STEPS
    members_left: int = MAX_MEMBERS
    notes: list[str] = []
    lists: dict[int, list[Any]] = {}

    __repr__ = object.__repr__

    def charge(self, steps: int) -> bool:
        """Charge steps, and return whether the budget suffices."""
        self.steps_left -= steps
        return self.steps_left >= 0

    def charge_text(self, text: str) -> bool:
        """Charge what work on a text costs beyond one step, and return whether the budget suffices."""
        return len(text) <= SHORT_TEXT or self.charge(len(text) // CHARACTERS_PER_STEP)

    def charge_list(self, members: list[Any], each: int = 1) -> bool:
        """Charge a list of which each member takes `each` steps, and return whether the budget suffices.

        A list that several fields read counts its members once.
        """
        if id(members) not in self.lists:
            self.members_left -= len(members)
            self.lists[id(members)] = members  # a list that is gone could give its id to another one
        return self.charge(len(members) * each) and self.members_left >= 0

    def derived(self, members: list[Any]) -> list[Any]:
        """Return a list that was made of charged members, so that they are not charged again."""
        self.lists[id(members)] = members
        return members

    def note(self, warning: str) -> None:
        """Note a warning of the field that is being read, once."""
        if warning not in self.notes:
            self.notes.append(warning)


# --- Steps of a pipe ------------------------------------------------------------------------------

# Takes a value that is not None. Returns a value or `SourceFailed`.
Step = Callable[[Any, Reading], Any]


@dataclass(frozen=True, slots=True)
class StepProblem:
    """Why a step of a mapping document is refused: a sentence, and a code of the field problem."""

    sentence: str
    code: str = "pipe_invalid"


def _on(types: tuple[type, ...], kind: str, name: str, shape: Callable[[Any], Any]) -> Step:
    """Return a step for values of these types. `wrong_type` answers for texts that are not stored."""

    def step(value: Any, _reading: Reading) -> Any:
        if type(value) not in types:
            return wrong_type(value, f"the pipe's {name} takes a {kind}")
        return shape(value)

    return step


on_text: Final = partial(_on, (str,), "text")
on_number: Final = partial(_on, (int, Decimal), "number")
