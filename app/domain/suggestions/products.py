"""Find the value of an order and its units: a total, or sums over the list of products."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion.failures import SourceFailed
from app.domain.conversion.numbers import is_number
from app.domain.suggestions.amounts import Notation, notation_of, read_amount, without_words
from app.domain.suggestions.names import rank, word_set, words_in
from app.domain.suggestions.observations import (
    FieldFinding,
    ObservedPath,
    ObservedPaths,
    ProductList,
    Written,
    step,
)
from app.domain.suggestions.trial import Trial

_NO_TOTAL: Final = word_set("no_total")
_NO_PRICE: Final = word_set("no_price")
_NO_COUNT: Final = word_set("no_count")
_MAX_COUNT: Final = 99
_CENTS_FROM: Final = 100  # a whole amount below this is probably no amount in cents
_ENOUGH: Final = 10  # whole amounts, to wonder about them
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

    list: ProductList
    paths: Mapping[str, tuple[str, ...]]  # of the members, each with the names that lead to it
    price: str = ""
    line_total: str = ""
    quantity: str = ""
    incomplete_price: bool = False
    incomplete_quantity: bool = False

    def column(self, path: str) -> Sequence[Any]:
        """Return the value of each member at a path."""
        return [member_value(member, self.paths[path]) for member in self.list.all_members]


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
    columns = {path: [member_value(member, names) for member in members] for path, names in paths.items()}

    def best(field: str, unlike: frozenset[str], fits: Any, other: str = "") -> str:
        ranked = {
            path: rank(field, names) - 30 * bool(unlike & words_in(names))
            for path, names in paths.items()
            if path != other and rank(field, names) > 25 and _share(columns[path], fits) >= 0.5
        }
        first = max(ranked, key=ranked.__getitem__, default="")
        return first if ranked.get(first, 0) > 0 else ""

    quantity = best("units_sold", frozenset({"stock", "available"}), _is_count)
    line_total = best("line_total", _NO_PRICE, _is_amount, quantity)
    price = best("price", _NO_PRICE, _is_amount, quantity)
    if (price or line_total) and not quantity:
        quantity = next((path for path in paths if _looks_like_counts(paths[path], columns[path])), "")
    if price and price == line_total:
        own = paths[price]
        unit = rank("price", own) >= rank("line_total", own)
        price, line_total = (price, "") if unit else ("", line_total)
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
    counts = [path for path, values in columns.items() if _share(values, _is_small_count) == 1]
    amounts = [path for path in columns if path not in counts and _share(columns[path], _is_amount) == 1]
    totals = [
        _read_all(other.values[:_SAMPLE])
        for other in found.values
        if not other.in_list and _share(other.found, _is_amount) == 1
    ][:_MAX_TOTALS]
    for price in sorted(amounts[:_MAX_COLUMNS], key=lambda path: -rank("price", paths[path])):
        for quantity in (*counts[:_MAX_COUNTS], ""):
            sums = [_sum_of(event, paths, price, quantity) for event in each.members[:_SAMPLE]]
            if any(_agree(sums, total) for total in totals):
                return price, quantity
    return None


def _read_all(values: Sequence[Any]) -> list[Decimal | None]:
    sign = notation_of(values, (), ()).decimal
    return [read_amount(value, sign) for value in values]


def _sum_of(
    members: Sequence[Mapping[str, Any]], paths: Mapping[str, tuple[str, ...]], price: str, quantity: str
) -> Decimal | None:
    columns = [
        _read_all([member_value(member, paths[path]) for member in members])
        for path in (price, quantity)
        if path
    ]
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
        if type(member) is dict and len(names) < _MEMBER_DEPTH:
            _collect(member, below, (*names, name), paths)
        else:
            paths.setdefault(below, (*names, name))


def member_value(member: Any, names: Sequence[str]) -> Any:
    """Return the value to which names lead in a member of the list, None if there is none or it is empty."""
    for name in names:
        member = member.get(name) if type(member) is dict else None
    return None if member == "" else member


def _share(values: Sequence[Any], fits: Any) -> float:
    present = [value for value in values if value not in (None, "")]
    return sum(map(fits, present)) / len(present) if present else 0.0


def _is_amount(value: Any) -> bool:
    return read_amount(value, ".") is not None or read_amount(value, ",") is not None


def _is_count(value: Any) -> bool:
    number = read_amount(value)
    return number is not None and 0 <= number <= 100_000 and number == number.to_integral_value()


def _is_small_count(value: Any) -> bool:
    return _is_count(value) and (read_amount(value) or 0) <= _MAX_COUNT


def _multiplies(prices: Sequence[Any], quantities: Sequence[Any], totals: Sequence[Any]) -> bool:
    """Return whether most totals are the price times the quantity."""
    rows = [
        (price * quantity, total)
        for each in zip(prices, quantities, totals, strict=True)
        for price, quantity, total in [tuple(read_amount(v, ".") or read_amount(v, ",") for v in each)]
        if price is not None and quantity is not None and total is not None
    ]
    return bool(rows) and sum(abs(a - b) <= _CENT for a, b in rows) * 2 > len(rows)


def is_order(found: ObservedPaths, products: Products | None) -> bool:
    """Return whether the events look like orders: products with prices, or an order with a total."""
    has_order = any(rank("order_id", each.names) > 25 for each in found.values)
    has_products = products is not None and bool(products.price or products.line_total)
    has_currency = any(rank("currency", each.names) > 45 for each in found.values)
    return has_products or ((has_order or has_currency) and bool(_totals(found)))


def find_value(found: ObservedPaths, products: Products | None, trial: Trial) -> FieldFinding | None:
    """Return the source of the order's value."""
    lines, lines_notation = _value_of_lines(products, trial) if products else ([], None)
    # Invented amounts are no total of invented lines.
    summed = trial.values(lines[0]) if lines and not trial.invented else ()
    chosen: list[Written] = []
    notation: Notation | None = None
    reason = ""
    for each in _totals(found)[:6]:
        notation = notation_of(each.found, each.names, trial.countries)
        ratio = _ratio(trial.values(_read_by(each, notation)[0]), summed)
        if notation.divisor == 1 and ratio is not None and 50 <= ratio <= 200:
            notation = replace(notation, divisor=100)
        elif ratio is not None and not Decimal("0.4") <= ratio <= Decimal("2.5"):
            continue  # not the total of these products
        if any(trial.usable("value", _read_by(each, notation)[0])):
            chosen = _read_by(each, notation)
            reason = f"Named {each.label}; {_how(notation)}."
            break
    undecided: tuple[str, ...] = ()
    if not chosen:
        chosen, notation = lines, lines_notation
        reason = f"The sum over the products; {_how(notation)}." if notation else ""
    elif notation and notation.mixed and lines_notation and not lines_notation.mixed:
        chosen, notation = [*lines, *chosen], lines_notation  # `1,220` can be read in two ways
        reason = f"The sum over the products; {_how(notation)}."
    elif not all(trial.usable("value", chosen[0])):
        chosen = [*chosen, *lines]
    if not chosen:
        return _single_product(found, trial)
    if notation is not None and (notation.mixed or not notation.certain):
        undecided = ("decimal_sign",)
    elif _may_be_hundredths(trial.values(chosen[0])):
        undecided = ("may_be_hundredths",)
        if _has_lower_case_currency(found):
            chosen = [{**each, "pipe": [*each.get("pipe", ()), ["divide", 100]]} for each in chosen]
    source = trial.first_of("value", chosen)
    return FieldFinding(_omit_unreadable(source, "value", trial), reason, undecided) if source else None


def _how(notation: Notation) -> str:
    written = {None: "JSON numbers", ".": "texts with a decimal point", ",": "texts with a decimal comma"}[
        notation.decimal
    ]
    unit = {100: ", in hundredths", 1_000_000: ", in millionths"}.get(notation.divisor, "")
    return ("texts with a comma or a point" if notation.mixed else written) + unit


def _omit_unreadable(source: Written, name: str, trial: Trial) -> Written:
    """Let the event pass without the field, if some of the given events have a value that cannot be read."""
    failed = any(isinstance(value, SourceFailed) for value in trial.values(source))
    return {**source, "on_error": "omit"} if failed else source


def _totals(found: ObservedPaths) -> list[ObservedPath]:
    """Return the paths that may hold the order's total, the most probable first."""
    ranked = []
    for place, each in enumerate(found.values):
        score = rank("value", each.names)
        if each.in_list or each.words & _NO_TOTAL or rank("units_sold", each.names) >= score:
            continue
        amounts = without_words(each.found)
        if _share(amounts, _is_amount) < 0.5 or any(type(value) is bool for value in amounts):
            continue
        ranked.append((-(score + 10 * len(each.found) // len(each.values)), len(each.names), place, each))
    return [row[3] for row in sorted(ranked, key=lambda row: row[:3])]


def _may_be_hundredths(amounts: Sequence[Any]) -> bool:
    """Return whether all amounts are whole, large and not round, as prices in cents are."""
    numbers = [amount for amount in amounts if is_number(amount)]
    whole = all(number == int(number) and number >= _CENTS_FROM for number in numbers)
    return (
        whole and len(numbers) >= _ENOUGH and sum(number % 100 != 0 for number in numbers) * 2 > len(numbers)
    )


def _has_lower_case_currency(found: ObservedPaths) -> bool:
    """Return whether currencies are written as `eur`, which only systems with amounts in cents do."""
    named = (each for each in found.values if rank("currency", each.names) > 25)
    return any(each.texts and all(text.islower() for text in each.texts) for each in named)


def _read_by(each: ObservedPath, notation: Notation) -> list[Written]:
    """Return the sources that read a path in a notation."""
    return [each.piped(*pipe) for pipe in notation.pipes()]


def _ratio(totals: Sequence[Any], summed: Sequence[Any]) -> Decimal | None:
    """Return the median ratio of totals to the sums over the products."""
    ratios = sorted(
        Decimal(total) / Decimal(added)
        for total, added in zip(totals, summed, strict=False)
        if is_number(total) and is_number(added) and added > 0
    )
    return ratios[len(ratios) // 2] if ratios else None


def _value_of_lines(products: Products, trial: Trial) -> tuple[list[Written], Notation | None]:
    name = products.price or products.line_total
    if not name:
        return [], None
    names, values = [name], [*products.column(name)]
    if products.price and products.quantity:
        names.append(products.quantity)
        values += [value for value in products.column(products.quantity) if "." in str(value)]
    notation = notation_of(values, products.paths[name], trial.countries)
    pipes = notation.sums(names, skip=products.incomplete_price)
    return [{"path": products.list.path, "pipe": pipe} for pipe in pipes], notation


def _single_product(found: ObservedPaths, trial: Trial) -> FieldFinding | None:
    """Return price times quantity of an event about one product, which has no list."""
    for each in sorted(found.values, key=lambda each: -rank("price", each.names)):
        if (
            rank("price", each.names) <= 25
            or each.in_list
            or _share(each.found, _is_amount) < 0.5
            or each.words & (_NO_PRICE | {"tax", "shipping"})
        ):
            continue
        notation = notation_of(each.found, each.names, trial.countries)
        beside = [
            q
            for q in found.values
            if q.names[:-1] == each.names[:-1]
            and rank("units_sold", q.names) > 45
            and _share(q.found, _is_count) >= 0.5
        ]
        above = each.path[: -len(each.names[-1]) - 1] if each.path.endswith(f".{each.label}") else ""
        if beside and above in found.objects:
            quantity = beside[0].names[-1]
            pipes = notation.sums([each.names[-1], quantity])
            reason = f"{each.label} times {quantity}; {_how(notation)}."
            sources: list[Written] = [{"path": above, "pipe": pipe} for pipe in pipes]
        elif beside and {read_amount(value) for value in beside[0].found} != {1}:
            return FieldFinding(None, "", ("total_missing",))  # nothing multiplies two members of an event
        else:
            reason = f"Named {each.label}; {_how(notation)}."
            sources = _read_by(each, notation)
        source = trial.first_of("value", sources)
        if source is not None:
            return FieldFinding(_omit_unreadable(source, "value", trial), reason)
    return None


def find_units(found: ObservedPaths, products: Products | None, trial: Trial) -> FieldFinding | None:
    """Return the source of the number of units sold."""
    sources: list[Written] = []
    reason = ""
    count: Written = {"path": products.list.path, "pipe": ["count"]} if products else {}
    if products and products.quantity:
        sources.append({"path": products.list.path, "pipe": [["sum", products.quantity]]})
        reason = "The sum of the products' quantities."
    elif products:
        sources.append(count)
        reason = "The number of products: they have no quantity."
    if not sources or not all(trial.usable("units_sold", sources[0])):
        for each in sorted(found.values, key=lambda each: -rank("units_sold", each.names)):
            usual = rank("units_sold", each.names) > 25 and not each.in_list
            if usual and _share(each.found, _is_count) > 0.5:
                sources.append(each.piped("to_number") if each.texts else each.source)
                reason = reason or f"Named {each.label}."
                break
        if products and products.quantity and products.incomplete_quantity:
            sources.append(count)
    source = trial.first_of("units_sold", sources)
    return FieldFinding(_omit_unreadable(source, "units_sold", trial), reason) if source else None
