"""Find what happened in the events, and where: by names, else by the shape of the events."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Final

from app.domain.conversion.amazon_codes import PURCHASE
from app.domain.suggestions.names import WORDS, joined, key_by_word, word_list, words_in, words_of
from app.domain.suggestions.observations import FieldFinding, ObservedPath, ObservedPaths
from app.domain.suggestions.trial import FEW

# The members of a Shopify order, which has no event name.
_SHOPIFY: Final = ({"line_items", "total_price"}, {"line_items", "financial_status"})
_TYPES_AS_WRITTEN: Final = key_by_word("event_types")
_TYPES: Final = {joined(name): event_type for name, event_type in _TYPES_AS_WRITTEN.items()}


def event_type_of(name: str) -> str | None:
    """Return the event type of events with this name, None if neither it nor its last part is in a list."""
    return _TYPES.get(joined(name)) or _TYPES.get(joined(re.split("[.:]", name)[-1]))


def spellings() -> Iterator[str]:
    """Yield the usual spellings of all event names, such as `Order Completed` and `orderCompleted`."""
    # The case of the first word, and that of the others.
    cases = [(str.lower, str.lower), (str.title, str.title), (str.title, str.lower), (str.upper, str.upper)]
    ways = [*product("_ -", cases), ("", (str.lower, str.title)), ("", (str.title, str.title))]
    for name, (joint, (first, rest)) in product(_TYPES_AS_WRITTEN, ways):
        parts = (part.split("_") for part in name.split("."))
        yield ".".join(joint.join([first(word), *map(rest, others)]) for word, *others in parts)


_NAME_PATHS: Final = word_list("name_paths")
_NAME_ENDS: Final = frozenset(map(joined, word_list("name_ends")))
_LONGEST_NAME: Final = 80
_MOST_NAMES: Final = 100  # in the table of a mapping


def _is_shopify_order(found: ObservedPaths) -> bool:
    """Return whether the events have the shape of an order webhook of Shopify."""
    names = {name for each in found.values for name in each.names}
    names |= {name for each in found.lists for name in each.names}
    return any(marks <= names for marks in _SHOPIFY)


def find_event_type(found: ObservedPaths, *, is_order: bool) -> tuple[FieldFinding, str]:
    """Return the events' type by their name, else by their shape; and the most frequent type."""
    named = _name_of_event(found)
    names = named.texts if named else []
    types = Counter(event_type_of(name) or "" for name in names)
    known = [event_type for event_type, _ in types.most_common() if event_type]
    if named is None or not known:
        undone = bool(WORDS["undone"] & words_in(names))
        finding = _by_shape(found, is_order=is_order and not undone)
        return finding, finding.source
    reason = f"By the event's name at {named.path}."
    if len(types) == 1:
        return FieldFinding(known[0], reason), known[0]
    table = {name: event_type for name in names if (event_type := event_type_of(name))}
    rows = {**dict(list(table.items())[:_MOST_NAMES]), "*": "OTHER"}
    return FieldFinding(named.piped(["map", rows]), reason, ("several_event_types",)), known[0]


def _by_shape(found: ObservedPaths, *, is_order: bool) -> FieldFinding:
    for each in found.values:  # a measure of Adobe XDM: `commerce.purchases.value` is 1
        if each.names[-3:-2] == ("commerce",) and each.names[-1] == "value":
            event_type = event_type_of(f"commerce {each.names[-2]}")
            if event_type and len(each.found) * 2 > len(each.values):
                return FieldFinding(event_type, f"By the measure {each.path}.")
    if is_order and _is_shopify_order(found):
        return FieldFinding(PURCHASE, "A Shopify order is a purchase.")
    if is_order:
        reason = "No list has the events' name, but they look like orders."
        return FieldFinding(PURCHASE, reason, ("event_name_unknown",))
    return FieldFinding("OTHER", "No list has the events' name.", ("event_name_unknown",))


def _name_of_event(found: ObservedPaths) -> ObservedPath | None:
    """Return the path of the events' name: one with known names first."""
    rows = []
    for each in found.values:
        ends, texts = joined(each.names[-1]), each.texts
        *before, last = words_of(each.names[-1]) or ("",)
        is_named = ends in _NAME_ENDS or (last == "event" and not WORDS["other_events"].intersection(before))
        if each.path not in _NAME_PATHS and not is_named:
            continue
        is_text = len(texts) == len(each.found)
        if each.in_list or not is_text or any(len(text) > _LONGEST_NAME or "@" in text for text in texts):
            continue
        known = sum(event_type_of(text) is not None for text in texts)
        if not known and ends in ("type", "name"):
            continue  # `track`, or the name of something else
        order = _NAME_PATHS.index(each.path) if each.path in _NAME_PATHS else len(_NAME_PATHS)
        rows.append((known * 2 <= len(texts), order, each))
    return min(rows, key=lambda row: row[:2])[-1] if rows else None


# --- Where it happened ----------------------------------------------------------------------------

_PLATFORMS: Final = key_by_word("event_sources")
_USUAL_PLATFORMS: Final = word_list("usual_platforms")


def find_event_source(found: ObservedPaths) -> FieldFinding:
    """Return where the events happen: by a platform that they name, else by their shape, else a website."""
    for each in found.values:
        words = [text.strip().lower() for text in each.texts]
        if not _names_platform(each) or len(words) < len(each.found) or not set(words) <= _PLATFORMS.keys():
            continue
        reason = f"Named {each.label}; its values are platforms."
        (most, times), *_ = Counter(_PLATFORMS[word] for word in words).most_common()
        if times == len(each.values) >= FEW:
            return FieldFinding(most, reason)
        rows = {word: _PLATFORMS[word] for word in (*_USUAL_PLATFORMS, *dict.fromkeys(words))}
        source = each.piped("trim", "lower", ["map", {**rows, "*": most}])
        return FieldFinding({**source, "default": most}, reason)
    names = {joined(name) for each in found.values for name in each.names}
    if names & WORDS["web"]:
        return FieldFinding("WEBSITE", "The events have members of a browser.")
    if names & WORDS["offline"]:
        return FieldFinding("OFFLINE", "The events have members of a shop's till.")
    if _is_shopify_order(found):
        return FieldFinding("WEBSITE", "Where a Shopify order usually happens.")
    return FieldFinding("WEBSITE", "Nothing in the events says where they happen.", ("assumed_website",))


def _names_platform(each: ObservedPath) -> bool:
    name = joined(each.names[-1])
    is_part = name in ("type", "name") and len(each.names) > 1
    is_platforms = is_part and not WORDS["platform_parents"].isdisjoint(words_of(each.names[-2]))
    return not each.in_list and (name in WORDS["platform_names"] or is_platforms)
