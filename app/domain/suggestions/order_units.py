"""Find the number of units of an order: the sum of the products' quantities, or a number of its own."""

import re
from typing import Final

from app.domain.mapping.pipes import MAX_PIPE_STEPS
from app.domain.mapping.sources import MAX_MEMBERS
from app.domain.suggestions.amounts import as_amounts, read_amount
from app.domain.suggestions.names import rank
from app.domain.suggestions.observations import FieldFinding, ObservedPaths, Written
from app.domain.suggestions.order_value import omit_unreadable
from app.domain.suggestions.products import Products, is_count, share
from app.domain.suggestions.trial import Trial

_WITH_ZEROS: Final = re.compile(r"\d+([.,])0+")  # a quantity as tills write it: `2,000`
_MOST_ABSENT: Final = MAX_MEMBERS - 2


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
        if products.incomplete_quantity:
            undecided = ("quantity_missing_in_some_products",)
            if own is None and all(read_amount(value) != 1 for value in column):
                source = trial.all_of("units_sold", [*sources, *_with_ones_left_out(products)])
                words = f"{reason[:-1]}; one that is left out is 1."
                return FieldFinding(source, words, ("missing_quantity_is_one",))
    elif products and products.unread_quantity:
        undecided = ("quantity_not_readable",)
    elif products:
        reason = "The number of products: they have no quantity."
        sources.append({"path": products.source.path, "pipe": ["count"]})
    if own and not (sources and all(trial.usable("units_sold", sources[0]))):
        sources.append(own[0])
    source = trial.first_of("units_sold", sources)
    return FieldFinding(source and omit_unreadable(source, trial), reason, undecided)


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


def _with_ones_left_out(products: Products) -> list[Written]:
    """Return sources of the units where some products have no quantity: for each number of these, one.

    The last one is for orders in which no product has a quantity.
    """
    path, quantity = products.source.path, products.source.member(products.quantity)
    template = f"[[{{{path} | count}}-{{{quantity} | count}}]]{{{quantity} | sum}}"
    sources: list[Written] = []
    for absent in range(1, _MOST_ABSENT + 1):
        add = ["to_number", ["add", absent]]
        counts = range(1, MAX_PIPE_STEPS - len(add) + 1)
        cut = [["replace", f"[[{absent + count}-{count}]]", ""] for count in counts]
        sources.append({"template": template, "pipe": [*cut, *add]})
    few = {str(count): str(count) for count in range(1, _MOST_ABSENT + 2)}
    return [*sources, {"path": path, "pipe": ["count", "to_string", ["map", few], "to_number"]}]
