"""Parse request bodies and Amazon's replies as JSON, and refuse all JSON that is ambiguous.

Every other parser must read the same value that this parser checked. This parser therefore refuses JSON that
parsers read differently: duplicate keys, NaN, infinities, a byte order mark, lone surrogates, NUL, deep
nesting, and numbers outside the range of a double. Numbers stay exact: integers become `int`, all others
`Decimal`. Also write values as JSON, with all digits of a `Decimal`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 64
MAX_NUMBER_LENGTH: Final = 4300  # CPython limits the digits of an `int` to this; it applies to every number


@dataclass(frozen=True, slots=True)
class MalformedJson:
    """Why a body is refused: a key of `SENTENCES`, and the byte offset if it is known."""

    why: str
    offset: int | None = None


# The sentence of each code, returned to the caller.
SENTENCES: Final = {
    "not_json": "The body is not JSON (RFC 8259).",
    "not_utf8": "The body is not UTF-8.",
    "byte_order_mark": "The body starts with a byte order mark; send plain UTF-8.",
    "duplicate_key": "An object contains the same key twice.",
    "nul_character": "A text contains the character NUL, which no field accepts.",
    "lone_surrogate": "A text contains a lone surrogate, which is not a character.",
    "number_out_of_range": "A number is too large, too small or too long to be kept exactly.",
    "too_deep": "The body is nested too deeply.",
}


exact_json: Final = msgspec.json.Encoder(decimal_format="number").encode
"""Encode plain values as JSON. Decimals become exact numbers."""


def json_text(value: Any) -> str:
    """Return a value as compact JSON. Numbers stay exact."""
    return exact_json(value).decode()


_INFINITY: Final = float("inf")


def _exact(text: str) -> Decimal:
    """Convert a number with a fraction or an exponent exactly.

    Raises ValidationError, as the decoder for a long integer, if the number is too long, or would be infinity
    or zero as a double.
    """
    if len(text) < 64 and "e" not in text and "E" not in text:
        return Decimal(text)  # the usual case: within the range of a double
    if len(text) > MAX_NUMBER_LENGTH:
        raise msgspec.ValidationError
    approximate = float(text)
    if not -_INFINITY < approximate < _INFINITY:
        raise msgspec.ValidationError
    if approximate == 0.0 and any(digit in "123456789" for digit in text.lower().partition("e")[0]):
        raise msgspec.ValidationError  # underflow: the number would become zero
    try:
        return Decimal(text)
    except InvalidOperation:  # only zero with a large exponent, such as `0e9999999999`
        return Decimal(0)


_DECODER: Final = msgspec.json.Decoder(float_hook=_exact)
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_A_FEW_EVENTS: Final = 2048
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[{"))
_BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_AT_BYTE: Final = re.compile(r"\(byte (\d+)\)$")
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def parse(body: bytes, *, max_depth: int = MAX_DEPTH) -> Any | MalformedJson:
    """Parse a body as JSON, in time linear in its length, or return why it is refused.

    The value consists of dict, list, str, int, Decimal, bool and None. `max_depth` is the greatest number of
    arrays and objects within each other.
    """
    try:
        value = _DECODER.decode(body)
    except msgspec.ValidationError:  # the decoder validates nothing else
        return MalformedJson("number_out_of_range")
    except msgspec.DecodeError as error:
        return _not_json(body, str(error))
    except UnicodeDecodeError:
        return MalformedJson("not_utf8")
    except RecursionError:
        return MalformedJson("too_deep")

    # Most small bodies have fewer brackets than the limit, which are counted faster than members are visited.
    is_small = len(body) <= _A_FEW_EVENTS and len(body.translate(None, _NO_BRACKETS)) <= max_depth
    if not is_small and _deeper_than(max_depth, value):
        return MalformedJson("too_deep")
    if (written := exact_json(value)) != body and _names_a_key_twice(written, body):
        return MalformedJson("duplicate_key")
    # The decoder refuses NUL itself, but not its escape sequence. Escaped backslashes are no part of it.
    if b"\\u0000" in body and b"\\u0000" in body.replace(b"\\\\", b"--"):
        return MalformedJson("nul_character")
    return value


def parse_outside(body: bytes, lists: Collection[str]) -> Any | MalformedJson:
    """Parse a body like `parse`, but leave each member of its list unparsed, as a `msgspec.Raw`.

    The list is the body itself, or has one of the names `lists`, of small letters, in the body's object. An
    object without such a list is returned as it is. `parse` refuses the body if it refuses what is left
    unparsed.
    """
    start = body.lstrip()[:1]
    try:
        if start == b"[":
            return _LIST.decode(body)
        if start != b"{":
            return parse(body)
        # `\u006` and `\u007` begin the escapes of small letters.
        marks = [*(f'"{name}"'.encode() for name in lists), b"\\u006", b"\\u007"]
        if not [mark for mark in marks if mark in body]:
            return body
        members = _OBJECT.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return parse(body)
    found = [name for name in lists if name in members and memoryview(members[name])[0] == ord("[")]
    if not found:
        return body
    name, *others = found
    listed, members[name] = members[name], msgspec.Raw(b"[]")
    written = exact_json(members)
    beside = parse(written)
    # See `_names_a_key_twice`: here only names could have an escaped colon.
    colons = written.count(b":") + bytes(listed).count(b":")
    is_clear = not others and body.count(b":") == colons and ":" not in "".join(members)
    if isinstance(beside, MalformedJson):
        return parse(body)
    if not is_clear and isinstance(whole := parse(body), MalformedJson):
        return whole
    beside[name] = _LIST.decode(listed)
    return beside


def _not_json(body: bytes, message: str) -> MalformedJson:
    if body.startswith(_BYTE_ORDER_MARKS):
        return MalformedJson("byte_order_mark", 0)
    where = _AT_BYTE.search(message)
    offset = int(where.group(1)) if where else None
    if "surrogate" in message or (offset is None and _SURROGATE_ESCAPE.search(body)):
        return MalformedJson("lone_surrogate", offset)
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return MalformedJson("not_utf8", error.start)
    return MalformedJson("not_json", offset)


def _deeper_than(limit: int, value: Any) -> bool:
    level: list[Any] = [[value]]
    depth = -1
    while level:
        depth += 1
        if depth > limit:
            return True
        # Only containers are collected: a list of all members could be as large as the body.
        level = [
            member
            for container in level
            for member in (container.values() if type(container) is dict else container)
            # Most members are texts.
            if type(member) is not str and (type(member) is dict or type(member) is list)
        ]
    return False


def _names_a_key_twice(written: bytes, body: bytes) -> bool:
    """Return whether an object in the body has two members with the same name.

    `written` is the encoded value. The decoder keeps only the last of these members. Each member has one
    colon, and all other colons are in strings. So the encoded value has fewer colons than the body if a
    member is missing; an escaped colon of the body is a colon there. Counting colons is ten times faster than
    a parser that shows every member, and mostly not needed: the encoded value equals the body.
    """
    colons = body.count(b":")
    if b"\\u003" in body:  # escaped backslashes are no part of it
        unescaped = body.replace(b"\\\\", b"--")
        colons += unescaped.count(b"\\u003a") + unescaped.count(b"\\u003A")
    return colons != written.count(b":")
