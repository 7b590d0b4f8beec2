"""Find the list of the products of an order, and which members are the price and the number of pieces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from app.domain.mapping.paths import IMPASSABLE, parse_path, walk
from app.domain.suggestions.amounts import GROSS, NET, notation_of, read_amount
from app.domain.suggestions.names import joined, plain, rank, word_set, words_in
from app.domain.suggestions.observations import ObservedPaths, ProductList, step

NO_PRICE: Final = word_set("no_price")
_NO_COUNT: Final = word_set("no_count")
_USUAL: Final = 45  # the rank of a usual name
_MAX_COUNT: Final = 99
_MEMBER_DEPTH: Final = 3
_MAX_MEMBER_PATHS: Final = 60
_CENT: Final = Decimal("0.011")
# What is looked at to find amounts that add up.
_SAMPLE: Final = 20  # events
_MAX_COLUMNS: Final = 8
_MAX_COUNTS: Final = 3
_MAX_TOTALS: Final = 12


@dataclass(frozen=True, slots=True)
class Products:
    """The product list of the events: how its members name price, line total and quantity; empty if not."""

    source: ProductList
    paths: Mapping[str, tuple[str, ...]]  # of the members, each with the names that lead to it
    price: str = ""
    line_total: str = ""
    quantity: str = ""
    incomplete_price: bool = False
    incomplete_quantity: bool = False
    unread_quantity: bool = False  # there is a member with a usual name, whose values are no numbers

    def by_event(self, path: str) -> list[list[Any]]:
        """Return the values of the members of each event at a path."""
        return [[_value(member, path) for member in event] for event in self.source.members]

    def column(self, path: str) -> list[Any]:
        """Return the value of each member at a path."""
        return [value for values in self.by_event(path) for value in values]


def find_products(found: ObservedPaths) -> Products | None:
    """Return the list whose members most look like products; None if no list has prices or quantities."""
    best: tuple[int, Products] | None = None
    for each in found.lists:
        products = _products_of(each, found)
        amounts = bool(products.price or products.line_total) * 40 + bool(products.quantity) * 30
        score = amounts + rank("products", each.names) // 2
        if amounts and (best is None or score > best[0]):
            best = score, products
    return best[1] if best else None


def _products_of(each: ProductList, found: ObservedPaths) -> Products:
    members = each.all_members
    paths: dict[str, tuple[str, ...]] = {}
    for member in members[:200]:
        _collect(member, "", (), paths)
    for path in [path for path in paths if path.endswith("[0]")]:
        if any(_value(member, path.replace("[0]", "[1]")) is not None for member in members):
            paths[path.removesuffix("[0]")] = paths.pop(path)  # no lists of one value
    columns = {path: [_value(member, path) for member in members] for path in paths}

    def best(field: str, unlike: frozenset[str], fits: Any, other: str = "") -> str:
        ranked = {
            path: rank(field, names) - 30 * bool(unlike & words_in(names)) + with_tax(names)
            for path, names in paths.items()
            if path != other and rank(field, names) > 25 and share(columns[path], fits) >= 0.5
        }
        first = max(ranked, key=ranked.__getitem__, default="")
        return first if ranked.get(first, 0) > 0 else ""

    quantity = best("units_sold", frozenset({"stock", "available"}), is_count)
    line_total = best("line_total", NO_PRICE, is_amount, quantity)
    price = best("price", NO_PRICE, is_amount, quantity)
    if (price or line_total) and not quantity:
        quantity = next((path for path in paths if _looks_like_counts(paths[path], columns[path])), "")
    if price and price == line_total:
        own = paths[price]
        unit = rank("price", own) >= rank("line_total", own)
        price, line_total = (price, "") if unit else ("", line_total)
    if price and line_total and words_in(paths[price]) & NO_PRICE:
        price = ""  # such as a list price
    if price and line_total and quantity and rank("price", paths[price]) >= 95:
        agree = _multiplies(columns[price], columns[quantity], columns[line_total])
        line_total = line_total if agree else ""
    if proven := _proven_by_sums(each, paths, columns, found):
        amounts, counts = proven
        price, line_total = (amounts, "") if counts else ("", amounts)
        quantity = counts or quantity
    return Products(
        each,
        paths,
        price,
        line_total,
        quantity,
        incomplete_price=None in columns.get(price or line_total, ()),
        incomplete_quantity=None in columns.get(quantity, ()),
        unread_quantity=any(
            rank("units_sold", names) > _USUAL and not words_in(names) & _NO_COUNT for names in paths.values()
        ),
    )


def _proven_by_sums(
    each: ProductList,
    paths: Mapping[str, tuple[str, ...]],
    columns: Mapping[str, Sequence[Any]],
    found: ObservedPaths,
) -> tuple[str, str] | None:
    """Return the members whose products add up to an amount of most events: their names may say anything.

    The second one, the number of pieces, is empty if the first ones alone add up.
    """
    small = [path for path, values in columns.items() if share(values, _is_small_count) == 1]
    counts = [path for path in small if joined(paths[path][-1]) not in _NO_COUNT]
    amounts = [path for path in columns if path not in small and share(columns[path], is_amount) == 1]
    totals = [
        _read_all(other.values[:_SAMPLE])
        for other in found.without_named_members(each).values
        if not other.in_list and share(other.found, is_amount) == 1
    ][:_MAX_TOTALS]
    for price in sorted(amounts[:_MAX_COLUMNS], key=lambda path: -rank("price", paths[path])):
        for quantity in (*counts[:_MAX_COUNTS], ""):
            sums = [_sum_of(event, price, quantity) for event in each.members[:_SAMPLE]]
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
    return small and len(present) * 2 > len(values) and not words_in(names) & _NO_COUNT


def _collect(
    value: Mapping[str, Any], path: str, names: tuple[str, ...], paths: dict[str, tuple[str, ...]]
) -> None:
    for name, member in value.items():
        below = step(path, name)
        if below is None or len(paths) >= _MAX_MEMBER_PATHS:
            continue
        if type(member) is dict and below.count(".") <= _MEMBER_DEPTH:
            _collect(member, below, plain((*names, name)), paths)
        elif type(member) is list and len(member) == 1 and type(member[0]) is not dict:
            paths.setdefault(f"{below}[0]", plain((*names, name)))
        else:
            paths.setdefault(below, plain((*names, name)))


def _value(member: Any, path: str) -> Any:
    """Return the value of a member of the list at a path, None if there is none or it is empty."""
    value = walk(member, parse_path(path) or ())
    return None if value in (IMPASSABLE, "") else value


def with_tax(names: Sequence[str]) -> int:
    """Return by how much an amount is preferred, because its name says that tax is in it, or is not."""
    words = words_in(names)
    return 15 * bool(words & GROSS) - 30 * bool(words & NET)


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


def _multiplies(prices: Sequence[Any], quantities: Sequence[Any], totals: Sequence[Any]) -> bool:
    """Return whether most totals are the price times the quantity."""
    rows = [
        (price * quantity, total)
        for each in zip(prices, quantities, totals, strict=True)
        for price, quantity, total in [tuple(read_amount(v, ".") or read_amount(v, ",") for v in each)]
        if price is not None and quantity is not None and total is not None
    ]
    return bool(rows) and sum(abs(a - b) <= _CENT for a, b in rows) * 2 > len(rows)
