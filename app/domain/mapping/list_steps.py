"""The pipe functions for lists. An object counts as a list of one.

Each member costs a step of the event's budget for each thing that is read of it.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion import numbers
from app.domain.conversion.numbers import is_number, plain, read_amount, read_number, scalar_text
from app.domain.mapping.paths import EACH, Path, collect, is_empty, parse_path, walk
from app.domain.mapping.reading import OVER_BUDGET, UNCLEAR, Invented, Reading, SourceFailed, Step, wrong_type

MAX_SUM_NAMES: Final = 3
MAX_WHERE_VALUES: Final = 50


def on_list(name: str, shape: Callable[[list[Any], Reading], Any], each: int = 1) -> Step:
    """Return a step for lists, of which each member costs `each` steps."""

    def step(value: Any, reading: Reading) -> Any:
        members = [value] if type(value) is dict else value
        if type(members) is not list:
            return wrong_type(value, f"the pipe's {name} takes a list")
        return shape(members, reading) if reading.charge_list(members, each) else OVER_BUDGET

    return step


def first(value: Any, _reading: Reading) -> Any:
    return (value[0] if value else None) if type(value) is list else value


def last(value: Any, _reading: Reading) -> Any:
    return (value[-1] if value else None) if type(value) is list else value


def join_step(arguments: list[Any]) -> Step | str:
    if len(arguments) > 1 or not all(isinstance(a, str) and len(a) <= 16 for a in arguments):
        return "takes at most one argument, a text of at most 16 characters"
    joint = arguments[0] if arguments else " "

    def step(value: Any, reading: Reading) -> Any:
        if type(value) is not list:
            return value
        if not reading.charge_list(value):
            return OVER_BUDGET
        parts = [scalar_text(part) for part in value if part is not None]
        if UNCLEAR in parts:
            return UNCLEAR
        if any(type(part) is SourceFailed for part in parts):
            sentence = "is a list with lists or objects, which the pipe's join does not accept"
            return SourceFailed("wrong_type", sentence)
        return joint.join(parts) if parts else None

    return step


def count(members: list[Any], _reading: Reading) -> Any:
    is_unclear = any(isinstance(each, Invented) and not each.is_present for each in members)
    return UNCLEAR if is_unclear else len(members)


def unique(members: list[Any], reading: Reading) -> Any:
    """Return the members without repetitions. Numbers are equal by amount; 1, "1" and true are not."""
    found: dict[Any, Any] = {}
    for member in members:
        key = _identity(member, reading)
        if type(key) is SourceFailed:
            return key
        found.setdefault(key, member)
    return reading.derived(list(found.values()))


def _identity(value: Any, reading: Reading) -> Any:
    """Return a key that equal values share, or why there is none."""
    if type(value) is not list and type(value) is not dict:
        kind = Decimal if is_number(value) else type(value)
        return UNCLEAR if isinstance(value, Invented) else (kind, value)
    if not reading.charge(len(value)):
        return OVER_BUDGET
    keys = [_identity(member, reading) for member in (value.values() if type(value) is dict else value)]
    failed = next((key for key in keys if type(key) is SourceFailed), None)
    if failed:
        return failed
    return tuple(keys) if type(value) is list else frozenset(zip(value, keys, strict=True))


def pluck_step(arguments: list[Any]) -> Step | str:
    path = parse_path(arguments[0]) if len(arguments) == 1 and isinstance(arguments[0], str) else None
    if path is None:
        return "takes one argument, a path in each member"

    return on_list("pluck", lambda members, reading: collect(members, (EACH, *path), reading))


_OPTIONS: Final = 'takes as options "missing": "skip" and "decimal": "," or "."'


def _options(arguments: list[Any], allowed: set[str]) -> tuple[list[Any], dict[str, str] | None]:
    """Return the arguments before the options, and the options; None if they are wrong."""
    if not arguments or type(arguments[-1]) is not dict:
        return arguments, {}
    options = arguments[-1]
    are_known = options.keys() <= allowed and options.get("missing", "skip") == "skip"
    fits = are_known and options.get("decimal", ",") in numbers.DECIMAL_SIGNS
    return arguments[:-1], options if fits else None


def sum_step(arguments: list[Any]) -> Step | str:
    """Compile `"sum"`, or `["sum", "price", "quantity", {"missing": "skip", "decimal": ","}]`."""
    names, options = _options(arguments, {"missing", "decimal"})
    paths = [parse_path(name) if isinstance(name, str) else None for name in names]
    if len(paths) > MAX_SUM_NAMES or any(path is None or EACH in path for path in paths):
        return f"takes at most {MAX_SUM_NAMES} names of members, or paths without [*]"
    if options is None:
        return _OPTIONS
    factors = [path for path in paths if path is not None] or [()]
    decimal = options.get("decimal")
    missing = SourceFailed("transform_failed", "has a member without a number to add up")

    def total(members: list[Any], reading: Reading) -> Any:
        amounts: list[Decimal] = []
        for member in members:
            amount = _product(member, factors, decimal, reading)
            if isinstance(amount, SourceFailed):
                return amount
            if amount is not None:
                amounts.append(amount)
            elif "missing" in options:
                reading.note("item_skipped")
            else:
                return missing
        return numbers.result(numbers.add(*amounts)) if amounts else None

    # An amount with groups and a currency takes twice the time.
    return on_list("sum", total, each=1 + len(factors) * (2 if decimal else 1))


def _product(
    member: Any, factors: list[Path], decimal: str | None, reading: Reading
) -> Decimal | SourceFailed | None:
    """Return the product of a member's numbers; None if it lacks the first one. Others count as 1."""
    product: Decimal | None = None
    for path in factors:
        usual = len(path) == 1 and type(member) is dict
        value = member.get(path[0]) if usual else walk(member, path)
        if type(value) is SourceFailed:
            return value
        if is_empty(value):
            if product is None:
                return None
            reading.note("item_incomplete")
            continue
        number = read_amount(value, decimal)
        if type(number) is SourceFailed:
            return number
        operand = numbers.operand(number)
        if isinstance(operand, SourceFailed):
            return operand
        product = operand if product is None else numbers.multiply(product, operand)
    return product


def extreme(name: str, choose: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Step | str]:
    """Return the `make` of `min` or `max`."""

    def compile_step(arguments: list[Any]) -> Step | str:
        rest, options = _options(arguments, {"decimal"})
        if rest or options is None:
            return _OPTIONS
        decimal = options.get("decimal")

        def shape(members: list[Any], _reading: Reading) -> Any:
            amounts = [read_amount(member, decimal) for member in members]
            failed = next((amount for amount in amounts if type(amount) is SourceFailed), None)
            return failed or (choose(amounts) if amounts else None)

        return on_list(name, shape)

    return compile_step


# --- where ----------------------------------------------------------------------------------------


def where_step(arguments: list[Any]) -> Step | str:
    """Compile `["where", path, op, argument]`. It leaves the members for which the condition holds."""
    path = parse_path(arguments[0]) if arguments and isinstance(arguments[0], str) else None
    if path is None or len(arguments) < 2 or not isinstance(arguments[1], str):
        return "takes a path in each member, a comparison and its argument"
    holds = _condition(arguments[1], arguments[2:])
    if isinstance(holds, str):
        return holds
    steps = path

    def where(members: list[Any], reading: Reading) -> Any:
        matching = []
        for member in members:
            found = collect(member, steps, reading) if EACH in steps else walk(member, steps)
            if found is OVER_BUDGET or (type(found) is list and not reading.charge_list(found)):
                return OVER_BUDGET
            # A member without such a path has no value there.
            verdict = holds(None if type(found) is SourceFailed else found)
            if verdict is None:
                return UNCLEAR
            if verdict:
                matching.append(member)
        return reading.derived(matching)

    return on_list("where", where)


def _condition(op: str, arguments: list[Any]) -> Callable[[Any], bool | None] | str:
    """Return a function that says whether a value passes; None if the value is not known."""
    if op in ("present", "absent"):
        if arguments:
            return f"takes no argument after {op}"
        return lambda value: is_empty(value) is (op == "absent")
    argument = plain(arguments[0]) if len(arguments) == 1 else None
    if op in ("above", "below"):
        if not is_number(argument):
            return f"takes one number after {op}"
        return lambda value: _compares(value, argument, above=op == "above")
    if op not in ("is", "in", "is_not", "not_in"):
        return "takes as comparison is, is_not, in, not_in, above, below, present or absent"
    several = op in ("in", "not_in")
    wanted = [plain(each) for each in argument] if several and type(argument) is list else [argument]
    if (several and type(argument) is not list) or not 1 <= len(wanted) <= MAX_WHERE_VALUES:
        return f"takes a list of 1 to {MAX_WHERE_VALUES} values after {op}"
    if not all(isinstance(each, str | int | Decimal) for each in wanted):
        return "compares with texts, numbers and booleans"
    negated, equals = op in ("is_not", "not_in"), _matcher(wanted)

    def holds(value: Any) -> bool | None:
        verdicts = [equals(each) for each in value] if type(value) is list else [equals(value)]
        return not negated if True in verdicts else None if None in verdicts else negated

    return holds


def _matcher(wanted: list[Any]) -> Callable[[Any], bool | None]:
    """Return a function that says whether a value equals one of the mapping; None if the value is not known.

    Texts are equal exactly. A number and a plain decimal text are equal by amount.
    """
    texts = {each for each in wanted if type(each) is str}
    numbers_wanted = {each for each in wanted if is_number(each)}
    amounts = {read_number(text) for text in texts} | numbers_wanted
    booleans = {each for each in wanted if type(each) is bool}

    def equals(value: Any) -> bool | None:
        if type(value) is str:
            return value in texts or (bool(numbers_wanted) and read_number(value) in numbers_wanted)
        if is_number(value):
            return value in amounts
        if isinstance(value, Invented):
            verdicts = [value.is_equal(text) for text in texts]
            return True if True in verdicts else None if None in verdicts or numbers_wanted else False
        return type(value) is bool and value in booleans

    return equals


def _compares(value: Any, limit: int | Decimal, *, above: bool) -> bool | None:
    if isinstance(value, Invented):
        return None
    number = read_number(value) if type(value) is str else value
    return is_number(number) and (number > limit if above else number < limit)
