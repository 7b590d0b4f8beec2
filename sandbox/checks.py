"""Building blocks of the rules: a refusal, and checks that tables combine. No I/O."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from sandbox.vocabulary import Code

_REMEMBER: Final = 1000
_SPEAKABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}").fullmatch


class Refusal(NamedTuple):
    """One reason to refuse an event; `where` is a path inside the event."""

    code: str
    message: str
    where: str


class Event(NamedTuple):
    """The event of a check, and the refusals found so far.

    `purchase` is None if the conversion type is unknown, so that a wrong type causes one refusal, not three.
    """

    purchase: bool | None
    now: float
    refusals: list[Refusal]

    def refuse(self, code: Code, message: str, where: str) -> None:
        self.refusals.append(Refusal(code, message, where))


Check = Callable[[Any, Event, str], None]


def check_object(
    value: Any, members: Mapping[str, Check], required: frozenset[str], event: Event, where: str
) -> None:
    """Refuse unknown, null and missing members of a JSON object. Check each other member by its row."""
    if type(value) is not dict:
        event.refuse(Code.INVALID, "Must be a JSON object.", where)
        return
    prefix = f"{where}." if where else ""
    for name, member in value.items():
        check = members.get(name)
        if check is None:
            # Callers choose member names: repeat a name only if it looks like a name.
            place = prefix + name if _SPEAKABLE(name) else where
            event.refuse(Code.BAD_REQUEST, "The schema has no member with this name.", place)
        elif member is None:
            event.refuse(Code.NULL, "Leave an absent member out instead of sending null.", prefix + name)
        else:
            check(member, event, prefix + name)
    if not required <= value.keys():
        for name in sorted(required - value.keys()):
            event.refuse(Code.EMPTY, "Required member is missing.", prefix + name)


def text(value: Any, event: Event, where: str) -> None:
    if type(value) is not str:
        event.refuse(Code.INVALID, "Must be a string.", where)
    elif not value.strip():
        event.refuse(Code.EMPTY, "Must not be empty.", where)


def word(allowed: frozenset[str]) -> Check:
    """Return the check of an enum: exact, case-sensitive."""

    def check(value: Any, event: Event, where: str) -> None:
        if type(value) is not str or value not in allowed:
            event.refuse(Code.INVALID, "Not a value of this enum.", where)

    return check


def form(matches: Callable[[str], object], message: str) -> Check:
    """Return the check of a string that must match a pattern completely."""

    def check(value: Any, event: Event, where: str) -> None:
        if type(value) is not str:
            event.refuse(Code.INVALID, "Must be a string.", where)
        elif not matches(value):
            event.refuse(Code.INVALID, message, where)

    return check


def nested(members: Mapping[str, Check], required: frozenset[str]) -> Check:
    def check(value: Any, event: Event, where: str) -> None:
        check_object(value, members, required, event, where)

    return check


def remembered(check: Check) -> Check:
    """Cache objects that passed `check`, because nearly all events contain the same few objects.

    Unhashable members and values are checked again each time. All cached values are strings, so equal values
    of another type cannot pass by mistake.
    """
    passed: set[tuple[tuple[str, Any], ...]] = set()

    def check_once(value: Any, event: Event, where: str) -> None:
        try:
            key = tuple(value.items())
            if key in passed:
                return
        except (AttributeError, TypeError):
            key = None
        before = len(event.refusals)
        check(value, event, where)
        if key is not None and len(event.refusals) == before and len(passed) < _REMEMBER:
            passed.add(key)

    return check_once
