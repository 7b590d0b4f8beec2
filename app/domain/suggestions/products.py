"""Find the products of an order: their list, price and quantity, the units sold, and their custom data."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from math import prod
from typing import Any, Final

from app.domain.conversion.numbers import is_number
from app.domain.conversion.values import MAX_CUSTOM_LENGTH
from app.domain.mapping.paths import UNREACHABLE, parse_path, walk
from app.domain.suggestions.amounts import Notation, as_amounts, read_amount
from app.domain.suggestions.names import WORDS, joined, plain, rank, table, words_in
from app.domain.suggestions.observations import (
    FieldFinding,
    ObservedPath,
    ObservedPaths,
    ProductList,
    Written,
    step,
)
from app.domain.suggestions.trial import Trial

_USUAL: Final = 45  # the rank of a usual name
_MAX_COUNT: Final = 99
_MEMBER_DEPTH: Final = 3
_MAX_MEMBER_PATHS: Final = 60
_MAX_LISTS: Final = 12  # that may be the products
_CENT: Final = Decimal("0.011")
# What is looked at to find amounts that add up.
_SAMPLE: Final = 20  # events
_MAX_COLUMNS: Final = 8
_MAX_COUNTS: Final = 3
_MAX_TOTALS: Final = 12
_WITH_ZEROS: Final = re.compile(r"\d+([.,])0+")  # a quantity as tills write it: `2,000`
_CUSTOM_DATA: Final = {name: frozenset(words) for name, words in table("custom_data").items()}
_CUT: Final = ["substring", 0, MAX_CUSTOM_LENGTH]
_JOIN: Final = ["unique", ["join", ", "], _CUT]


@dataclass(frozen=True, slots=True)
class Products:
    """The product list of the events, and which of its members are amount and quantity; None if none are.

    `columns` have what each product has at a path. With `is_unit`, the amount is the price of one piece, else
    that of the line.
    """

    source: ProductList
    columns: Sequence[ObservedPath]
    amount: ObservedPath | None = None
    is_unit: bool = True
    quantity: ObservedPath | None = None

    def by_event(self, column: ObservedPath) -> list[list[Any]]:
        """Return the values of the products of each event."""
        values = iter(column.values)
        return [list(islice(values, len(members))) for members in self.source.members]


def find_products(found: ObservedPaths) -> Products | None:
    """Return the list whose members most look like products; None if no list has prices or quantities."""

    def score(each: Products) -> int:
        named = rank("products", each.source.names) // 2
        return bool(each.amount) * 40 + bool(each.quantity) * 30 + named

    best = sorted(found.lists, key=lambda each: -rank("products", each.names))[:_MAX_LISTS]
    lists = (_products_of(each, found) for each in best)
    return max((each for each in lists if each.amount or each.quantity), key=score, default=None)


def _products_of(source: ProductList, found: ObservedPaths) -> Products:
    columns = _columns_of(source)

    def best(
        field: str, unlike: frozenset[str], fits: Any, other: ObservedPath | None = None
    ) -> ObservedPath | None:
        ranked = [
            (rank(field, each.names) - 30 * bool(unlike & each.words) + with_tax(each.names), each)
            for each in columns
            if each is not other and rank(field, each.names) > 25 and share(each.values, fits) >= 0.5
        ]
        score, first = max(ranked, key=lambda row: row[0], default=(0, None))
        return first if score > 0 else None

    quantity = best("units_sold", frozenset({"stock", "available"}), is_count)
    line_total = best("line_total", WORDS["no_price"], is_amount, quantity)
    price = best("price", WORDS["no_price"], is_amount, quantity)
    if (price or line_total) and not quantity:
        quantity = next(filter(_looks_like_counts, columns), None)
    is_unit = price is not None
    if price and price is line_total:
        is_unit = rank("price", price.names) >= rank("line_total", price.names)
    elif price and line_total:
        is_unit = not price.words & WORDS["no_price"]  # such as a list price
    products = Products(source, columns, price if is_unit else line_total, is_unit, quantity)
    if proven := _proven_by_sums(products, found):
        amount, counts = proven
        return replace(products, amount=amount, is_unit=counts is not None, quantity=counts or quantity)
    return products


def _columns_of(source: ProductList) -> list[ObservedPath]:
    """Return what the products have at each path. A list that has one value in each product is that value."""
    members = [member for event in source.members for member in event]
    paths: dict[str, tuple[str, ...]] = {}
    for member in members[:200]:
        _collect(member, "", (), paths)
    for path in [path for path in paths if path.endswith("[0]")]:
        if any(value is not None for value in _values(members, path.replace("[0]", "[1]"))):
            paths[path.removesuffix("[0]")] = paths.pop(path)  # no lists of one value
    return [ObservedPath({"path": path}, names, _values(members, path)) for path, names in paths.items()]


def _proven_by_sums(
    products: Products, found: ObservedPaths
) -> tuple[ObservedPath, ObservedPath | None] | None:
    """Return the members whose products add up to an amount of most events: their names may say anything.

    The second one, the number of pieces, is None if the first ones alone add up.
    """
    small = [each for each in products.columns if share(each.values, _is_small_count) == 1]
    counts = [each for each in small if joined(each.names[-1]) not in WORDS["no_count"]]
    amounts = [each for each in products.columns if each not in small and share(each.values, is_amount) == 1]
    totals = [
        read_all(other.values[:_SAMPLE])
        for other in found.without_named_members(products.source).values
        if not other.in_list and share(other.found, is_amount) == 1
    ][:_MAX_TOTALS]
    for price in sorted(amounts[:_MAX_COLUMNS], key=lambda each: -rank("price", each.names)):
        for quantity in (*counts[:_MAX_COUNTS], None):
            columns = [products.by_event(each)[:_SAMPLE] for each in (price, quantity) if each]
            sums = [_sum_of(*values) for values in zip(*columns, strict=True)]
            if any(_agree(sums, total) for total in totals):
                return price, quantity
    return None


def read_all(values: Sequence[Any]) -> list[Decimal | None]:
    """Read values as amounts in one notation; None where a value is no amount."""
    sign = Notation.of(values, ()).decimal
    return [read_amount(value, sign) for value in values]


def _sum_of(*columns: Sequence[Any]) -> Decimal | None:
    """Return the sum over products of what their columns multiply to; None if a value is no amount."""
    lines = list(zip(*map(read_all, columns), strict=True))
    return None if any(None in line for line in lines) else Decimal(sum(map(prod, lines)))


def _agree(sums: Sequence[Decimal | None], totals: Sequence[Decimal | None]) -> bool:
    """Return whether nearly all sums are the totals, of enough events with different ones."""
    rows = [(a, b) for a, b in zip(sums, totals, strict=True) if a and b]
    equal = {a for a, b in rows if abs(a - b) <= _CENT}
    return len(equal) > 2 and sum(a in equal for a, _ in rows) >= len(rows) * 0.9


def _looks_like_counts(each: ObservedPath) -> bool:
    """Return whether values of a name that says nothing are small numbers, as quantities are."""
    small = all(type(value) is int and 1 <= value <= _MAX_COUNT for value in each.found)
    return small and len(each.found) * 2 > len(each.values) and not each.words & WORDS["no_count"]


def _collect(
    value: Mapping[str, Any], path: str, names: tuple[str, ...], paths: dict[str, tuple[str, ...]]
) -> None:
    for name, member in value.items():
        below = step(path, name)
        if below is None or len(paths) >= _MAX_MEMBER_PATHS:
            continue
        if type(member) is dict and below.count(".") <= _MEMBER_DEPTH:
            _collect(member, below, plain((*names, name)), paths)
        else:
            is_single = type(member) is list and len(member) == 1 and type(member[0]) is not dict
            paths.setdefault(f"{below}[0]" if is_single else below, plain((*names, name)))


def _values(members: Sequence[Any], path: str) -> tuple[Any, ...]:
    """Return the value of each member of the list at a path, None if there is none or it is empty."""
    steps = parse_path(path) or ()
    found = [walk(member, steps) for member in members]
    return tuple([None if value is UNREACHABLE or value == "" else value for value in found])


def with_tax(names: Sequence[str]) -> int:
    """Return by how much an amount is preferred, because its name says that tax is in it, or is not."""
    words = words_in(names)
    return 15 * bool(words & WORDS["gross"]) - 30 * bool(words & WORDS["net"])


def share(values: Sequence[Any], fits: Any) -> float:
    present = [value for value in values if value not in (None, "")]
    return sum(map(fits, present)) / len(present) if present else 0.0


def is_amount(value: Any) -> bool:
    numbers = (read_amount(value, sign) for sign in (".", ","))
    return any(number is not None and number < 10**11 for number in numbers)  # larger ones are milliseconds


def is_count(value: Any) -> bool:
    numbers = (read_amount(value, sign) for sign in (None, ",", "."))
    return any(n is not None and 0 <= n <= 100_000 and n == n.to_integral_value() for n in numbers)


def _is_small_count(value: Any) -> bool:
    return is_count(value) and (read_amount(value) or 0) <= _MAX_COUNT


# --- Units ----------------------------------------------------------------------------------------


def find_units(found: ObservedPaths, products: Products | None, trial: Trial) -> FieldFinding | None:
    """Return the source of the number of units sold."""
    sources: list[Written] = []
    own = _own_number(found)
    reason = f"Named {own[1]}." if own else ""
    undecided: tuple[str, ...] = ()
    if products and (quantity := products.quantity):
        signs = {match[1] if (match := _WITH_ZEROS.fullmatch(text)) else None for text in quantity.texts}
        if any(signs) and len(signs) > 1:
            return FieldFinding(None, undecided=("decimal_sign",))
        options = [{"decimal": sign} for sign in signs if sign]
        reason = "The sum of the products' quantities."
        sources.append({"path": products.source.path, "pipe": [["sum", quantity.path, *options]]})
        undecided = ("quantity_missing_in_some_products",) if None in quantity.values else ()
    elif products and any(map(_is_named_quantity, products.columns)):
        undecided = ("quantity_not_readable",)
    elif products:
        reason = "The number of products: they have no quantity."
        sources.append({"path": products.source.path, "pipe": ["count"]})
    words = words_in(own[0].get("path", "").split(".")[-2:]) if own else frozenset()
    if own and {"total", "qty"} <= words <= WORDS["sets"]:  # a set can stand beside its parts in the list
        sources.insert(0, own[0])
    elif own and not (sources and all(trial.usable("units_sold", sources[0]))):
        sources.append(own[0])
    source = trial.first_of("units_sold", sources)
    return FieldFinding(source and trial.without_unreadable(source), reason, undecided)


def _own_number(found: ObservedPaths) -> tuple[Written, str] | None:
    """Return the source of a number of units beside the products, and its name."""
    for given in sorted(found.values, key=lambda each: -rank("units_sold", each.names)):
        each = as_amounts(given)
        if rank("units_sold", each.names) <= 25 or share(each.found, is_count) <= 0.5:
            continue
        if max(rank("value", each.names[:-1]), rank("price", each.names[:-1])) > 45:
            continue  # the whole units of an amount of money
        if each.path.endswith("[0]") and "pipe" not in each.source:
            return {"path": each.path.removesuffix("[0]"), "pipe": ["sum"]}, each.label
        if not each.in_list:
            return each.piped("to_number") if each.texts else each.source, each.label
    return None


def _is_named_quantity(each: ObservedPath) -> bool:
    return rank("units_sold", each.names) > _USUAL and not each.words & WORDS["no_count"]


# --- Custom data ----------------------------------------------------------------------------------


def find_custom_data(found: ObservedPaths, products: Products | None, trial: Trial) -> dict[str, Written]:
    """Return the sources of custom data by name, if they have a usable value in some event."""
    best = {
        name: trial.first_of(f"custom_data.{name}", _of_products(products, words) + _of_event(found, words))
        for name, words in _CUSTOM_DATA.items()
    }
    return {name: source for name, source in best.items() if source is not None}


def _of_products(products: Products | None, synonyms: frozenset[str]) -> list[Written]:
    if products is None:
        return []
    for each in products.columns:
        is_of_product = len(each.names) == 1 or each.names[-1] not in WORDS["of_products_only"]
        if joined(each.names[-1]) not in synonyms or not is_of_product:
            continue
        whole = products.source.member(each.path)
        sources: list[Written] = []
        if any(type(value) is list for value in each.values) and whole.count("[*]") < 2:
            sources.append({"path": f"{whole}[*]", "pipe": _JOIN})
        if any(type(value) is str or is_number(value) for value in each.values):
            sources.append({"path": whole, "pipe": _JOIN})
        if sources:
            return sources
    return []


def _of_event(found: ObservedPaths, synonyms: frozenset[str]) -> list[Written]:
    return [
        _cut(each)
        for each in found.values
        if not each.in_list
        and joined(each.names[-1]) in synonyms - WORDS["of_products_only"]
        and all(type(value) is str or is_number(value) for value in each.found)
    ][:2]


def _cut(each: ObservedPath) -> Written:
    longest = max(len(str(value)) for value in each.found)
    return each.piped("to_string", _CUT) if longest > MAX_CUSTOM_LENGTH // 2 else each.source
