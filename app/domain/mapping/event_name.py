"""Event names: the rules of Amazon (P13), and their normalised spelling (R12). Pure."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

MAX_EVENT_NAME_LENGTH: Final = 256
_FORBIDDEN: Final = re.compile(r"[!@#$%^&*|+=(){}\[\]<>?\\/~;]")
# Controls, zero-width and direction marks, line ends, surrogates, private and unassigned characters.
_INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})
# Invisible letters, marks and symbols: fillers, joiners, variation selectors.
_BLANK: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u2800\u3164\ufe00-\ufe0f\uffa0]")


def event_name_problem(name: Any) -> str | None:
    """Return the problem of an event name as a sentence, or None."""
    if not isinstance(name, str):
        return "An event name is a text; it is the same for every event."
    if not name.strip() or len(name) > MAX_EVENT_NAME_LENGTH:
        return f"An event name has 1 to {MAX_EVENT_NAME_LENGTH} characters, not only blanks."
    if _FORBIDDEN.search(name):
        return r"An event name contains none of ! @ # $ % ^ & * | + = ( ) { } [ ] < > ? \ / ~ ;"
    if _BLANK.search(name) or any(unicodedata.category(c) in _INVISIBLE_CATEGORIES for c in name):
        return "An event name contains no control, invisible or direction character. Type it again."
    return None


def clean_event_name(name: str) -> str:
    """Return a valid event name without surrounding white space, letters and accents composed (NFC)."""
    return unicodedata.normalize("NFC", name).strip()


def with_clean_event_name(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping document with a normalised event name, if it has one."""
    match document.get("event_name"):
        case str(name):
            return {**document, "event_name": clean_event_name(name)}
        case {"const": str(name), **rest} if not rest:
            return {**document, "event_name": {"const": clean_event_name(name)}}
    return dict(document)
