"""Find the products of an order: their list, price and quantity, the units sold, and their custom data."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion.numbers import is_number
from app.domain.conversion.values import MAX_CUSTOM_LENGTH
from app.domain.mapping.paths import UNREACHABLE, parse_path, walk
from app.domain.suggestions.amounts import as_amounts, notation_of, read_amount
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
    """The product list of the events: how its members name amount and quantity; empty if they do not.

    With `is_unit`, the amount is the price of one piece, else that of the line.
    """

    source: ProductList
    paths: Mapping[str, tuple[str, ...]]  # of the members, each with the names that lead to it
    amount: str = ""
    is_unit: bool = True
    quantity: str = ""

    @property
    def has_unread_quantity(self) -> bool:
        """Whether there is a member with a usual name of a quantity, which may be no number."""
        return any(
            rank("units_sold", names) > _USUAL and not words_in(names) & WORDS["no_count"]
            for names in self.paths.values()
        )

    def by_event(self, path: str) -> list[list[Any]]:
        """Return the values of the members of each event at a path."""
        return [[_value(member, path) for member in event] for event in self.source.members]

    def column(self, path: str) -> list[Any]:
        """Return the value of each member at a path."""
        return [value for values in self.by_event(path) for value in values]


def find_products(found: ObservedPaths) -> Products | None:
    """Return the list whose members most look like products; None if no list has prices or quantities."""

    def score(each: Products) -> int:
        named = rank("products", each.source.names) // 2
        return bool(each.amount) * 40 + bool(each.quantity) * 30 + named

    best = sorted(found.lists, key=lambda each: -rank("products", each.names))[:_MAX_LISTS]
    lists = (_products_of(each, found) for each in best)
    return max((each for each in lists if each.amount or each.quantity), key=score, default=None)


def _products_of(each: ProductList, found: ObservedPaths) -> Products:
    members = [member for event in each.members for member in event]
    paths: dict[str, tuple[str, ...]] = {}
    for member in members[:200]:
        _collect(member, "", (), paths)
    for path in [path for path in paths if path.endswith("[0]")]:
        if any(_value(member, path.replace("[0]", "[1]")) is not None for member in members):
            paths[path.removesuffix("[0]")] = paths.pop(path)  # no lists of one value
    products = Products(each, paths)
    columns = {path: products.column(path) for path in paths}

    def best(field: str, unlike: frozenset[str], fits: Any, other: str = "") -> str:
        ranked = {
            path: rank(field, names) - 30 * bool(unlike & words_in(names)) + with_tax(names)
            for path, names in paths.items()
            if path != other and rank(field, names) > 25 and share(columns[path], fits) >= 0.5
        }
        first = max(ranked, key=ranked.__getitem__, default="")
        return first if ranked.get(first, 0) > 0 else ""

    quantity = best("units_sold", frozenset({"stock", "available"}), is_count)
    line_total = best("line_total", WORDS["no_price"], is_amount, quantity)
    price = best("price", WORDS["no_price"], is_amount, quantity)
    if (price or line_total) and not quantity:
        quantity = next((path for path in paths if _looks_like_counts(paths[path], columns[path])), "")
    is_unit = bool(price)
    if price and price == line_total:
        is_unit = rank("price", paths[price]) >= rank("line_total", paths[price])
    elif price and line_total:
        is_unit = not words_in(paths[price]) & WORDS["no_price"]  # such as a list price
    amount = price if is_unit else line_total
    if proven := _proven_by_sums(products, columns, found):
        amount, counts = proven
        is_unit, quantity = bool(counts), counts or quantity
    return replace(products, amount=amount, is_unit=is_unit, quantity=quantity)


def _proven_by_sums(
    products: Products, columns: Mapping[str, Sequence[Any]], found: ObservedPaths
) -> tuple[str, str] | None:
    """Return the members whose products add up to an amount of most events: their names may say anything.

    The second one, the number of pieces, is empty if the first ones alone add up.
    """
    paths, members = products.paths, products.source.members
    small = [path for path, values in columns.items() if share(values, _is_small_count) == 1]
    counts = [path for path in small if joined(paths[path][-1]) not in WORDS["no_count"]]
    amounts = [path for path in columns if path not in small and share(columns[path], is_amount) == 1]
    totals = [
        _read_all(other.values[:_SAMPLE])
        for other in found.without_named_members(products.source).values
        if not other.in_list and share(other.found, is_amount) == 1
    ][:_MAX_TOTALS]
    for price in sorted(amounts[:_MAX_COLUMNS], key=lambda path: -rank("price", paths[path])):
        for quantity in (*counts[:_MAX_COUNTS], ""):
            sums = [_sum_of(event, price, quantity) for event in members[:_SAMPLE]]
            if any(_agree(sums, total) for total in totals):
                return price, quantity
    return None


def _read_all(values: Sequence[Any]) -> list[Decimal | None]:
    sign = notation_of(values, ()).decimal
    return [read_amount(value, sign) for value in values]


def _sum_of(members: Sequence[Mapping[str, Any]], price: str, quantity: str) -> Decimal | None:
    columns = [_read_all([_value(member, path) for member in members]) for path in (price, quantity) if path]
    lines = [amounts for amounts in zip(*columns, strict=True) if None not in amounts]
    if len(lines) < len(members):
        return None
    return sum((amount * (pieces[0] if pieces else 1) for amount, *pieces in lines), Decimal(0))


def _agree(sums: Sequence[Decimal | None], totals: Sequence[Decimal | None]) -> bool:
    """Return whether nearly all sums are the totals, of enough events with different ones."""
    rows = [(a, b) for a, b in zip(sums, totals, strict=True) if a and b]
    equal = {a for a, b in rows if abs(a - b) <= _CENT}
    return len(equal) > 2 and sum(a in equal for a, _ in rows) >= len(rows) * 0.9


def _looks_like_counts(names: Sequence[str], values: Sequence[Any]) -> bool:
    """Return whether values of a name that says nothing are small numbers, as quantities are."""
    present = [value for value in values if value is not None]
    small = all(type(value) is int and 1 <= value <= _MAX_COUNT for value in present)
    return small and len(present) * 2 > len(values) and not words_in(names) & WORDS["no_count"]


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


def _value(member: Any, path: str) -> Any:
    """Return the value of a member of the list at a path, None if there is none or it is empty."""
    value = walk(member, parse_path(path) or ())
    return None if value in (UNREACHABLE, "") else value


def with_tax(names: Sequence[str]) -> int:
    """Return by how much an amount is preferred, because its name says that tax is in it, or is not."""
    words = words_in(names)
    return 15 * bool(words & WORDS["gross"]) - 30 * bool(words & WORDS["net"])


def share(values: Sequence[Any], fits: Any) -> float:
    present = [value for value in values if value not in (None, "")]
    return sum(map(fits, present)) / len(present) if present else 0.0


def is_amount(value: Any) -> bool:
    return read_amount(value, ".") is not None or read_amount(value, ",") is not None


def is_count(value: Any) -> bool:
    numbers = (read_amount(value), read_amount(value, ","), read_amount(value, "."))
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
    if products and products.quantity:
        column = products.column(products.quantity)
        signs = {_sign_of(value) for value in column if type(value) is str}
        if any(signs) and len(signs) > 1:
            return FieldFinding(None, "", ("decimal_sign",))
        options = [{"decimal": sign} for sign in signs if sign]
        reason = "The sum of the products' quantities."
        sources.append({"path": products.source.path, "pipe": [["sum", products.quantity, *options]]})
        undecided = ("quantity_missing_in_some_products",) if None in column else ()
    elif products and products.has_unread_quantity:
        undecided = ("quantity_not_readable",)
    elif products:
        reason = "The number of products: they have no quantity."
        sources.append({"path": products.source.path, "pipe": ["count"]})
    if own and not (sources and all(trial.usable("units_sold", sources[0]))):
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


def _sign_of(quantity: str) -> str | None:
    match = _WITH_ZEROS.fullmatch(quantity)
    return match[1] if match else None


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
    for path, names in products.paths.items():
        if joined(names[-1]) not in synonyms or (len(names) > 1 and names[-1] in WORDS["of_products_only"]):
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
        and joined(each.names[-1]) in synonyms - WORDS["of_products_only"]
        and all(type(value) is str or is_number(value) for value in each.found)
    ][:2]


def _cut(each: ObservedPath) -> Written:
    longest = max(len(str(value)) for value in each.found)
    return each.piped("to_string", _CUT) if longest > MAX_CUSTOM_LENGTH // 2 else each.source
