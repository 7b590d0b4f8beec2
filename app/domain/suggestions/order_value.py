"""Find the value of an order and its currency: a total, or sums over the list of products."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion.amazon_codes import CURRENCIES, WITHOUT_DECIMALS
from app.domain.conversion.numbers import is_number
from app.domain.mapping.sources import MAX_MEMBERS
from app.domain.suggestions.amounts import Notation, as_amounts, divisor_of, read_amount, words_beside
from app.domain.suggestions.names import WORDS, joined, key_by_word, rank, word_list, words_in
from app.domain.suggestions.observations import FieldFinding, ObservedPath, ObservedPaths, Written
from app.domain.suggestions.products import Products, is_amount, is_count, read_all, share, with_tax
from app.domain.suggestions.trial import FEW, Trial, one_of

_OTHER_CURRENCY: Final = WORDS["other_currency"] | {code.lower() for code in CURRENCIES}
_SIGNS: Final = key_by_word("currency_signs")
_ROUND_FROM: Final = 1000  # a round amount of few events from this on may be one
_CENTS_FROM: Final = 100  # a whole amount below this is probably no amount in cents
_NO_AMOUNTS: Final = ("units_sold", "event_timestamp", "postal", "phone")
_PIECES: Final = range(1, MAX_MEMBERS + 1)
_DIVISORS: Final = {str(by): by for by in (100, 1, 1000, 10)}
_DECIMALS: Final = {"2": 100, "0": 1, "3": 1000, "1": 10}
# The names of what stands beside an amount that is written as a whole number, and what it means.
_SCALE: Final = dict.fromkeys(word_list("decimals"), _DECIMALS) | {"divisor": _DIVISORS}


@dataclass(frozen=True, slots=True)
class AmountSources:
    """The sources that read amounts, tried in turn, and their notation. `is_guarded`: by currency.

    `says` is what they read. `path` is that of the order's total, or of the first product's amount.
    """

    sources: list[Written] = field(repr=False)
    notation: Notation
    says: str
    path: ObservedPath | None = None
    is_guarded: bool = False

    @property
    def is_open(self) -> bool:
        """Whether a person has to check the decimal sign."""
        return not self.is_guarded and not (self.notation.certain and not self.notation.mixed)

    def finding(self, trial: Trial, undecided: tuple[str, ...] = ()) -> FieldFinding | None:
        """Return one source of all; None if it gives no value."""
        choose = trial.all_of if self.is_guarded else trial.first_of
        if source := choose("value", self.sources):
            source = trial.without_unreadable(source)
            return FieldFinding(source, f"{self.says}; {self.notation.words}.", undecided)
        return None


def is_order(found: ObservedPaths, products: Products | None) -> bool:
    """Return whether the events look like orders: products with prices, or an order with a total."""
    has_order = any(rank("order_id", each.names) > 25 for each in found.values)
    has_products = products is not None and products.amount is not None
    has_currency = any(rank("currency", each.names) > 45 for each in found.values)
    has_amount = bool(_totals(found) or _single_prices(found))
    return has_products or ((has_order or has_currency) and has_amount)


# --- Value ----------------------------------------------------------------------------------------


def find_value(
    found: ObservedPaths, products: Products | None, trial: Trial
) -> tuple[FieldFinding | None, ObservedPath | None]:
    """Return the source of the order's value, and the path of its total, or of its first product's amount.

    A value that may be read wrongly is left to a person.
    """
    lines = _lines(found, products, trial) if products else None
    chosen = _total(found, trial, lines)
    if chosen and not (chosen.is_open and lines and not lines.is_open):
        if lines and not all(trial.usable("value", one_of(chosen.sources))):
            chosen = replace(chosen, sources=[*chosen.sources, *lines.sources])
    elif lines:
        chosen = lines
    else:
        return _single_product(found, trial), None
    if chosen.notation.doubtful and not chosen.is_guarded:
        return FieldFinding(None, undecided=("decimal_sign",)), None
    undecided = ("decimal_sign",) if chosen.is_open else ()
    codes = (each for each in _currencies(found, None) if each.has_only(str.islower))
    currency, is_named_amount = next(codes, None), chosen.path is None or "amount" in chosen.path.words
    is_few = chosen.path is not None and len(chosen.path.found) < FEW
    round_from = _CENTS_FROM if currency and is_named_amount else _ROUND_FROM if is_few else None
    if not undecided and _may_be_hundredths(found, trial, chosen, round_from):
        undecided = ("may_be_hundredths",)
        # Systems with amounts in cents write `eur`, but of few events some others do, too.
        if currency and (is_named_amount or not is_few):
            sources = [{**each, "pipe": [*each.get("pipe", ()), ["divide", 100]]} for each in chosen.sources]
            if chosen.path and "pipe" not in chosen.path.source:
                whole = map(str.lower, sorted(WITHOUT_DECIMALS))
                sources.insert(0, Notation().guarded(currency, chosen.path, [*whole]))
            chosen = replace(chosen, sources=sources, is_guarded=True)
        elif not is_few:
            return FieldFinding(None, undecided=undecided), None
    return chosen.finding(trial, undecided), chosen.path


def _total(found: ObservedPaths, trial: Trial, lines: AmountSources | None) -> AmountSources | None:
    """Return the order's total, which agrees with the sum over the products."""
    # Invented amounts are no total of invented lines.
    summed = trial.values(one_of(lines.sources)) if lines and not trial.invented else ()
    for each in _totals(found)[:6]:
        divisor = divisor_of(each.names)
        total = _read(each, found, trial, divisor)
        values = trial.values(one_of(total.sources))
        ratio = _ratio(values, summed)
        if divisor == 1 and (50 <= ratio <= 200 or _is_hundredfold(values, found)):
            total = _read(each, found, trial, 100)
        elif not Decimal("0.4") <= ratio <= Decimal("2.5"):
            continue  # not the total of these products
        if any(trial.usable("value", one_of(total.sources))):
            return total
    return None


def _is_hundredfold(values: Sequence[Any], found: ObservedPaths) -> bool:
    """Return whether another total has the same amounts, with decimals."""
    others = (each for each in _totals(found) if not all(str(value).isdigit() for value in each.found))
    return any(_ratio(values, read_all(each.values)) == _CENTS_FROM for each in others)


def _totals(found: ObservedPaths) -> list[ObservedPath]:
    """Return the paths that may hold the order's total, the most probable first."""
    ranked = []
    for each in _amounts(found):
        score, tax = rank("value", each.names), with_tax(each.names)
        # `total_tax` is a tax, `total_incl_tax` is none
        others = WORDS["no_total"] - WORDS["tax"] if tax else WORDS["no_total"]
        other_rank = max(rank(name, each.names) for name in _NO_AMOUNTS)
        is_other = each.in_list or each.words & others or other_rank >= score
        if is_other or bool in map(type, each.found) or share(each.found, is_amount) < 0.5:
            continue
        score += tax + _in_currency(each) - 40 * bool(each.words & _OTHER_CURRENCY)
        ranked.append((-(score + 10 * len(each.found) // len(each.values)), len(each.names), each))
    return [row[-1] for row in sorted(ranked, key=lambda row: row[:2])]


def _amounts(found: ObservedPaths) -> Iterator[ObservedPath]:
    """Yield the paths that may hold amounts: not attributes, which are all objects with a `value`."""
    alike = Counter((each.names[:-2], each.names[-1]) for each in found.values if len(each.names) > 1)
    for each in map(as_amounts, found.values):
        is_named = max(rank("value", each.names), rank("price", each.names)) > 60
        if is_named or joined(each.names[-1]) == "amount" or alike[each.names[:-2], each.names[-1]] <= 2:
            yield each


def _in_currency(each: ObservedPath) -> int:
    """Return by how much an amount is preferred that names its currency: `price_in_purchased_currency`."""
    return 60 * ("currency" in words_in(each.names[-1:]) and not each.words & _OTHER_CURRENCY)


def _scale_of(each: ObservedPath, found: ObservedPaths) -> ObservedPath | None:
    """Return the member beside an amount in an object that says by what the amount is divided."""
    above = each.path.rpartition(".")[0]
    beside = (other for other in found.values if above and other.path.rpartition(".")[0] == above)
    return next((other for other in beside if joined(other.names[-1]) in _SCALE), None)


def _read(each: ObservedPath, found: ObservedPaths, trial: Trial, divisor: int) -> AmountSources:
    """Return how to read a path: with what stands beside it, or for each currency if the currency matters."""
    says = f"Named {each.label}"
    if scale := _scale_of(each, found):
        divisors = _SCALE[joined(scale.names[-1])]
        if set(map(str, scale.found)) <= divisors.keys():
            read = [Notation(divisor=by).guarded(scale, each, [text]) for text, by in divisors.items()]
            return AmountSources(read, Notation(divisor=100), says, each, is_guarded=True)
    notation = Notation.of(each.found, trial.countries, divisor)
    currency = next((path for path in _currencies(found, each) if not path.source.get("pipe")), None)
    if currency is not None and "path" in each.source and not each.has_step("where"):
        pairs = zip(currency.values, each.values, strict=True)
        rows = [(code, value) for code, value in pairs if code and value]
        notation, separate = notation.by_currency(rows, each.names)
        if separate:
            sources = [reading.guarded(currency, each, codes) for reading, codes in separate.items()]
            return AmountSources(sources, notation, says, each, is_guarded=True)
    return AmountSources([each.piped(*pipe) for pipe in notation.pipes()], notation, says, each)


def _lines(found: ObservedPaths, products: Products, trial: Trial) -> AmountSources | None:
    """Return the sum over the products."""
    amount, source = products.amount, products.source
    if amount is None or words_beside(amount.texts):
        return None
    if any(joined(each.names[-1]) in _SCALE for each in products.columns):
        return None  # no sum reads whole numbers with what stands beside them
    names, values = [amount.path], [*amount.values]
    if products.is_unit and products.quantity:
        names.append(products.quantity.path)
        values += [value for value in products.quantity.values if "." in str(value)]
    notation = Notation.of(values, trial.countries, divisor_of(amount.names))
    skip = None in amount.values
    first = source.member(amount.path).replace("[*]", "[0]")  # has the currency of all
    path = next((each for each in found.values if each.path == first), None)
    says = "The sum over the products"
    for currency in _currencies(found, None):
        above, _, code = currency.path.rpartition(".")
        if above not in found.objects or not source.each.startswith(f"{above}."):
            continue  # no object has both
        rows = [
            (text, value)
            for text, members in zip(currency.values, products.by_event(amount), strict=True)
            for value in members
            if text and value is not None
        ]
        notation, separate = notation.by_currency(rows, amount.names)
        flat = ["pluck", source.each.removeprefix(f"{above}.")]
        sources: list[Written] = [
            {"path": above, "pipe": [["where", code, "in", codes], flat, *reading.sums(names, skip=skip)[0]]}
            for reading, codes in separate.items()
        ]
        if sources:
            return AmountSources(sources, notation, says, path, is_guarded=True)
    sums: list[Written] = [{"path": source.path, "pipe": pipe} for pipe in notation.sums(names, skip=skip)]
    return AmountSources(sums, notation, says, path)


def _may_be_hundredths(
    found: ObservedPaths, trial: Trial, chosen: AmountSources, round_from: int | None
) -> bool:
    """Return whether all amounts are whole, and not round or from `round_from` on, as prices in cents are."""
    path = chosen.path
    if path and (path.has_step("replace") or not all(str(value).isdigit() for value in path.found)):
        return False
    currency = next(iter(_currencies(found, None)), None)
    codes = currency.values if currency else ("",) * len(trial.events)
    numbers = [
        amount
        for amount, code in zip(trial.values(chosen.sources[0]), codes, strict=True)
        if is_number(amount) and str(code).upper() not in WITHOUT_DECIMALS
    ]
    whole = all(number == int(number) and number >= _CENTS_FROM for number in numbers)
    # int: a remainder of a Decimal with more than 28 digits raises
    uneven = sum(int(number) % 100 != 0 for number in numbers)
    is_large = bool(numbers) and round_from is not None and min(numbers) >= round_from
    return whole and (is_large or uneven * 2 > len(numbers))


def _ratio(totals: Sequence[Any], summed: Sequence[Any]) -> Decimal:
    """Return the median ratio of totals to the sums over the products; 1 without sums."""
    ratios = sorted(
        Decimal(total) / Decimal(added)
        for total, added in zip(totals, summed, strict=False)
        if is_number(total) and is_number(added) and added > 0
    )
    return ratios[len(ratios) // 2] if ratios else Decimal(1)


def _single_prices(found: ObservedPaths) -> Sequence[ObservedPath]:
    """Return the paths that may hold the price of an event about one product, which has no list."""
    prices = [
        each
        for each in _amounts(found)
        if rank("price", each.names) > 25
        and not each.in_list
        and share(each.found, is_amount) >= 0.5
        and not each.words & (WORDS["no_price"] | {"tax", "shipping"})
    ]
    return sorted(prices, key=lambda each: -rank("price", each.names) - _in_currency(each))


def _single_product(found: ObservedPaths, trial: Trial) -> FieldFinding | None:
    """Return price times quantity of an event about one product.

    In an object, `sum` multiplies them. In the event itself, a source for each usual quantity does.
    """
    for each in _single_prices(found):
        notation = Notation.of(each.found, trial.countries, divisor_of(each.names))
        if notation.doubtful:
            continue
        beside = (other for other in found.values if other.names[:-1] == each.names[:-1])
        pieces = next(filter(_is_quantity, beside), None)
        above = each.path.removesuffix(f".{each.names[-1]}") if len(each.names) > 1 else ""
        undecided: tuple[str, ...] = ()
        if pieces is None or (len(pieces.found) >= FEW and {str(value) for value in pieces.found} == {"1"}):
            amounts = _read(each, found, trial, notation.divisor)
        elif above in found.objects and "pipe" not in each.source:
            pipes = notation.sums([each.names[-1], pieces.names[-1]])
            sums: list[Written] = [{"path": above, "pipe": pipe} for pipe in pipes]
            amounts = AmountSources(sums, notation, f"{each.label} times {pieces.names[-1]}")
        else:
            counts = Counter(n for n in map(read_amount, pieces.found) if n and is_count(n))
            often = [int(number) for number, _ in counts.most_common()]
            numbers = list(dict.fromkeys([*often, *_PIECES]))[:MAX_MEMBERS]
            several = ", ".join(map(str, sorted(numbers)))
            says = f"{each.label} times {pieces.names[-1]}, if this is one of {several}"
            sources = [notation.guarded(pieces, each, [str(n)], times=n) for n in numbers]
            amounts = AmountSources(sources, notation, says, is_guarded=True)
            undecided = ("total_missing",)
        if finding := amounts.finding(trial, undecided):
            return finding
    return None


def _is_quantity(each: ObservedPath) -> bool:
    is_named = rank("units_sold", each.names) > 45 and "pipe" not in each.source
    return is_named and share(each.found, is_count) >= 0.5


# --- Currency -------------------------------------------------------------------------------------


def _currencies(found: ObservedPaths, amount: ObservedPath | None) -> list[ObservedPath]:
    """Return the paths that may hold the currency of an amount, the most probable first."""
    near = amount.words if amount else frozenset[str]()
    named = [
        each
        for each in found.values
        if rank("currency", each.names) > 25 or (each.texts and CURRENCIES.issuperset(each.found))
    ]

    def order(each: ObservedPath) -> tuple[int, int, int, int]:
        strange = len((each.words ^ near) & _OTHER_CURRENCY)
        return each.in_list, strange, -rank("currency", each.names), len(each.names)

    return sorted(named, key=order)


def find_currency(found: ObservedPaths, amount: ObservedPath | None, trial: Trial) -> FieldFinding | None:
    """Return the source of the currency of an amount: a path, else what the amounts or their name say."""
    named = _currencies(found, amount)
    if source := trial.first_of("currency", [each.source for each in named]):
        return FieldFinding(source, f"Named {named[0].label}; its values are currencies.")
    if amount is None:
        return None
    amount = next((each for each in found.values if each.source == {"path": amount.path}), amount)
    signs = [_sign(text) for text in amount.texts]
    yen = {"JP": "JPY", "CN": "CNY"}.get("".join(set(trial.countries)), "¥")
    written = {yen if sign in ("¥", "￥") else _SIGNS.get(sign, sign.upper()) for sign in signs}
    codes = ({code.upper() for code in amount.words} & CURRENCIES) | (written - {""})
    table = _SIGNS | {sign.upper(): code for sign, code in _SIGNS.items()}
    without = [["replace", char, ""] for char in "0123456789., '"]
    source = {**amount.piped(*without, "trim", ["map", table]), "on_error": "omit"}
    is_constant = len(signs) >= FEW or not all(trial.usable("currency", source))
    if len(codes) == 1 and codes <= CURRENCIES and (is_constant if all(signs) else not any(signs)):
        return FieldFinding({"const": codes.pop()}, f"All amounts at {amount.label} are in this currency.")
    if signs and written <= CURRENCIES:
        return FieldFinding(source, f"The signs of the amounts at {amount.label}.")
    return FieldFinding(None, undecided=("not_found",)) if any(signs) else None


def _sign(text: str) -> str:
    """Return what stands beside the digits of an amount, in lower case: of `$ 5 MXN` only the code."""
    parts = re.split(r"[\d\s'’−-]+", text.lower().replace(".", "").replace(",", ""))
    return next((part for part in parts if part.upper() in CURRENCIES), "".join(parts))
