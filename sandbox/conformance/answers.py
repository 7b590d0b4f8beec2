"""Parse responses of the events call by the contract (4.1). Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox.conformance.caller import Differs

_CODE: Final = re.compile(r"[A-Z]+(_[A-Z]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcomes of a request's events by index: accepted, or the error codes."""

    taken: frozenset[int]
    refused: Mapping[int, Sequence[str]]


def outcome(status: int, body: Any, *, events: int) -> Outcome:
    """Return the outcomes in a 207. Raises Differs if its format is wrong."""
    if status != 207:
        raise Differs(f"returned {status}, only 207 is correct")
    if not isinstance(body, dict):
        raise Differs("the body of the 207 is not a JSON object")
    success, error = _list(body, "success"), _list(body, "error")
    taken = [_index(one, "success") for one in success]
    refused = {_index(one, "error"): _codes(one) for one in error}
    indexes = [*taken, *(_index(one, "error") for one in error)]
    if len(set(indexes)) != len(indexes):
        raise Differs("an index occurs twice in the lists")
    if set(indexes) != set(range(events)):
        odd = sorted(set(indexes) ^ set(range(events)))
        raise Differs(
            f"the indexes are not those of the {events} events sent, counted from zero: missing or "
            f"unexpected: {odd[:3]}"
        )
    return Outcome(frozenset(taken), refused)


def problem(status: int, body: Any, *statuses: int) -> None:
    """Check a response that refuses the complete request. Raises Differs."""
    if status not in statuses:
        raise Differs(f"returned {status}, not {' or '.join(map(str, statuses))}")
    code = body.get("code") if isinstance(body, dict) else None
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise Differs(f"the {status} has no error code such as BAD_REQUEST")
    if not isinstance(body.get("message"), str):
        raise Differs(f"the {status} has no message")


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    found = body.get(name, [])
    if not isinstance(found, list):
        raise Differs(f"{name} is not a list")
    return found


def _index(entry: Any, name: str) -> int:
    index = entry.get("index") if isinstance(entry, dict) else None
    if type(index) is not int:
        raise Differs(f"an entry of {name} has no numeric index")
    return index


def _codes(entry: Mapping[str, Any]) -> Sequence[str]:
    errors = entry.get("errors")
    if not isinstance(errors, list) or not 1 <= len(errors) <= 20:
        raise Differs("an entry of error has no list of 1 to 20 errors")
    for one in errors:
        good = (
            isinstance(one, dict) and isinstance(one.get("message"), str) and isinstance(one.get("code"), str)
        )
        if not good or not _CODE.fullmatch(one["code"]):
            raise Differs("an error has no code such as BAD_REQUEST, or no message")
    return [one["code"] for one in errors]
