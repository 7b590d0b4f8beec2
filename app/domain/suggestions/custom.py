"""Find custom data: brand, category, article numbers and the like, of the event or of its products."""

from typing import Final

from app.domain.conversion.numbers import is_number
from app.domain.conversion.values import MAX_CUSTOM_LENGTH
from app.domain.suggestions.names import joined, table, word_set
from app.domain.suggestions.observations import ObservedPath, ObservedPaths, Written
from app.domain.suggestions.products import Products
from app.domain.suggestions.trial import Trial

_ROWS: Final = {name: frozenset(words) for name, words in table("custom_data").items()}
_OF_PRODUCTS_ONLY: Final = word_set("of_products_only")
_CUT: Final = ["substring", 0, MAX_CUSTOM_LENGTH]
_JOIN: Final = ["unique", ["join", ", "], _CUT]


def find_custom_data(found: ObservedPaths, products: Products | None, trial: Trial) -> dict[str, Written]:
    """Return the sources of custom data by name, if they have a usable value in some event."""
    best = {
        name: trial.first_of(f"custom_data.{name}", _of_products(products, words) + _of_event(found, words))
        for name, words in _ROWS.items()
    }
    return {name: source for name, source in best.items() if source is not None}


def _of_products(products: Products | None, synonyms: frozenset[str]) -> list[Written]:
    if products is None:
        return []
    for path, names in products.paths.items():
        if joined(names[-1]) not in synonyms or (len(names) > 1 and names[-1] in _OF_PRODUCTS_ONLY):
            continue
        values = products.column(path)
        whole = products.source.member(path)
        sources: list[Written] = []
        if any(type(value) is list for value in values) and whole.count("[*]") < 2:
            sources.append({"path": f"{whole}[*]", "pipe": _JOIN})
        if any(type(value) is str or is_number(value) for value in values):
            sources.append({"path": whole, "pipe": _JOIN})
        if sources:
            return sources
    return []


def _of_event(found: ObservedPaths, synonyms: frozenset[str]) -> list[Written]:
    return [
        _cut(each)
        for each in found.values
        if not each.in_list
        and joined(each.names[-1]) in synonyms - _OF_PRODUCTS_ONLY
        and each.found
        and all(type(value) is str or is_number(value) for value in each.found)
    ][:2]


def _cut(each: ObservedPath) -> Written:
    longest = max(len(str(value)) for value in each.found)
    return each.piped("to_string", _CUT) if longest > MAX_CUSTOM_LENGTH // 2 else each.source
