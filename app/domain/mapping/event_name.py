"""Check event names by Amazon's rules (P13), normalise them (R12), and detect misspelt ones.

A second name for an event type is usually the first name, misspelt.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from app.domain.privacy.normal_forms import stream_safe
from app.domain.privacy.personal_text import holds_personal_text

MAX_EVENT_NAME_LENGTH: Final = 256
_FORBIDDEN: Final = re.compile(r"[!@#$%^&*|+=(){}\[\]<>?\\/~;]")
# Unicode categories of invisible characters: control characters, formats such as zero-width and direction
# marks, line ends, surrogates, private and unassigned characters.
_INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})
# Invisible characters of other categories: fillers, joiners, variation selectors.
_BLANK: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u2800\u3164\ufe00-\ufe0f\uffa0]")


_SPACES: Final = " \u3000"  # the second one is the space of Japanese and Chinese keyboards
_NOT_LETTERS: Final = re.compile(r"[\W\d_]+")
_ALPHABETS: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN"})  # with letters that look alike


def event_name_problem(name: Any) -> str | None:
    """Return a sentence for the operator if the event name is invalid, else None."""
    if not isinstance(name, str):
        return "An event name is a text; it is the same for every event."
    if not name.strip() or len(name) > MAX_EVENT_NAME_LENGTH:
        return f"An event name has 1 to {MAX_EVENT_NAME_LENGTH} characters, not only blanks."
    if _FORBIDDEN.search(name):
        return r"An event name contains none of ! @ # $ % ^ & * | + = ( ) { } [ ] < > ? \ / ~ ;"
    if _BLANK.search(name) or any(unicodedata.category(c) in _INVISIBLE_CATEGORIES for c in name):
        return "An event name contains no control, invisible or direction character. Type it again."
    if holds_personal_text(name):
        return "An event name holds no e-mail address and no phone number: Amazon and this service show it."
    return None


def unintended_name_problem(name: str) -> str | None:
    """Return a sentence if the author of a valid event name cannot have meant its characters, else None.

    A name that is pinned already must stay usable.
    """
    if "\ufffd" in name:
        return "An event name contains no U+FFFD, which stands for a character that could not be decoded."
    if any(unicodedata.category(c) == "Zs" and c not in _SPACES for c in name.strip()):
        return "An event name contains only plain spaces. A no-break space looks like one."
    if mixes_alphabets(name):
        return "A word of an event name is in one alphabet. Letters of another one look like its letters."
    # Letters without a case are not compared, such as the ordinal in `1ª`.
    cased = (c for c in name if unicodedata.category(c) in ("Lu", "Ll") and not c.isascii())
    if any(unicodedata.normalize("NFKC", c).isascii() for c in cased):
        return "An event name contains plain letters, no ligatures and none of another width."
    return None


def mixes_alphabets(name: str) -> bool:
    """Return whether a word of the name has letters of two alphabets, such as `Acme` with a Cyrillic A."""
    words = _NOT_LETTERS.split(name)
    found = ({unicodedata.name(letter, "").partition(" ")[0] for letter in word} for word in words)
    return any(len(_ALPHABETS & alphabets) > 1 for alphabets in found)


def clean_event_name(name: str) -> str:
    """Normalise a valid event name: Unicode form NFC, without white space at its ends."""
    return unicodedata.normalize("NFC", stream_safe(name)).strip()


def with_clean_event_name(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a mapping document, in which the event name, if any, is normalised."""
    match document.get("event_name"):
        case str(name):
            return {**document, "event_name": clean_event_name(name)}
        case {"const": str(name), **rest} if not rest:
            return {**document, "event_name": {"const": clean_event_name(name)}}
    return dict(document)


_BETWEEN: Final = re.compile(r"[\s_-]+")


def near_miss(name: str, other: str) -> str | None:
    """Return the kind of misspelling that explains how two names differ; None if equal or unrelated.

    `unicode`: other code points for the same letters, such as full-width letters. `case`: upper and lower
    case. `spaces`: other separators between words. `one_letter`: one letter is wrong, missing, extra or
    transposed.
    """
    if name == other:
        return None
    first, second = unicodedata.normalize("NFKC", name), unicodedata.normalize("NFKC", other)
    if first == second:
        return "unicode"
    if first.casefold() == second.casefold():
        return "case"
    first, second = (_BETWEEN.sub("", text).casefold() for text in (first, second))
    if first == second:
        return "spaces"
    return "one_letter" if _one_apart(first, second) else None


def _one_apart(first: str, second: str) -> bool:
    if abs(len(first) - len(second)) > 1 or min(len(first), len(second)) < 3:
        return False
    while first and first[0] == second[:1]:
        first, second = first[1:], second[1:]
    swapped = first[1:2] + first[:1] + first[2:]
    return first[1:] in (second, second[1:]) or second[1:] == first or second == swapped
