"""Bodies have one reading or none."""

import json
import random
import time
from decimal import Decimal, InvalidOperation
from typing import Any

import pytest

from app.domain.strict_json import MAX_DEPTH, SENTENCES, MalformedJson, parse, parse_outside
from tests.tables import cases

REFUSED = [
    pytest.param(b"", "not_json", id="nothing"),
    pytest.param(b'{"value":NaN}', "not_json", id="NaN"),
    pytest.param(b'{"value":-Infinity}', "not_json", id="minus infinity"),
    pytest.param(b'{"value":1,}', "not_json", id="a trailing comma"),
    pytest.param(b'{"value":1} {"value":2}', "not_json", id="two documents"),
    pytest.param(b'{"a":"\x00"}', "not_json", id="a raw NUL"),
    pytest.param(b"\xef\xbb\xbf{}", "byte_order_mark", id="a byte order mark"),
    pytest.param('{"value":1}'.encode("utf-16"), "byte_order_mark", id="UTF-16 with a mark"),
    pytest.param('{"value":1}'.encode("utf-16-le"), "not_json", id="UTF-16 without a mark"),
    pytest.param(b'{"a":"\xff"}', "not_utf8", id="a byte that no UTF-8 text holds"),
    pytest.param(b'{"a":"\xc0\xaf"}', "not_utf8", id="an overlong form"),
    pytest.param(b'{"a":"\xed\xa0\x80"}', "not_utf8", id="a surrogate written in UTF-8"),
    pytest.param(b'{"a":"\xf4\x90\x80\x80"}', "not_utf8", id="a character beyond Unicode"),
    pytest.param(b'{"a":1,"a":2}', "duplicate_key", id="a key twice"),
    pytest.param(b'{"a":{"b":1,"c":2,"b":3}}', "duplicate_key", id="a key twice further in"),
    pytest.param(b'{"a":1,"\\u0061":2}', "duplicate_key", id="a key twice, once escaped"),
    pytest.param(b'{"x":"\\u003a","a":1,"a":2}', "duplicate_key", id="a key twice beside an escaped colon"),
    pytest.param(b'{"a":"::","a":":::"}', "duplicate_key", id="a key twice whose values hold colons"),
    pytest.param(b'[{"a":{"b:":1},"a":{"b:":1}}]', "duplicate_key", id="an object twice"),
    pytest.param(b'{"a":"x\\u0000y"}', "nul_character", id="an escaped NUL in a text"),
    pytest.param(b'{"c":{"a\\u0000":"b"}}', "nul_character", id="an escaped NUL in a key"),
    pytest.param(b'[["\\u0000"]]', "nul_character", id="an escaped NUL in a list"),
    pytest.param(b'"\\\\\\u0000"', "nul_character", id="an escaped NUL behind an escaped backslash"),
    pytest.param(b'{"a":"\\ud800"}', "lone_surrogate", id="half a surrogate pair"),
    pytest.param(b'{"a":"\\udd1e\\ud834"}', "lone_surrogate", id="a pair the wrong way round"),
    pytest.param(b'{"\\ud800":1}', "lone_surrogate", id="half a pair in a key"),
    pytest.param(b"1e400", "number_out_of_range", id="a number a double makes infinite"),
    pytest.param(b"-1e400", "number_out_of_range", id="a negative one"),
    pytest.param(b"1e-400", "number_out_of_range", id="a number a double makes zero"),
    pytest.param(b"9" * 4301, "number_out_of_range", id="an integer of 4,301 digits"),
    pytest.param(b"0." + b"1" * 5000, "number_out_of_range", id="a fraction of 5,000 digits"),
    pytest.param(b"[" * 65 + b"]" * 65, "too_deep", id="65 lists in one another"),
    pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, "too_deep", id="65 objects in one another"),
    pytest.param(b"[" * 100_000, "too_deep", id="100,000 open lists"),
    pytest.param(b'{"a":' * 100_000, "too_deep", id="100,000 open objects"),
]


@pytest.mark.parametrize(("body", "why"), REFUSED)
def test_refused_with_one_word(body: bytes, why: str) -> None:
    """A body with no reading, or with two, is refused, and the word has a sentence for the caller."""
    outcome = parse(body)
    assert isinstance(outcome, MalformedJson)
    assert outcome.why == why
    assert outcome.why in SENTENCES


@cases(
    ("body", "value"),
    {
        "a fraction stays exact": (b"0.30000000000000004", Decimal("0.30000000000000004")),
        "an integer beyond a double stays exact": (b"9007199254740993", 9007199254740993),
        "4,300 digits still pass": (b"9" * 4300, int("9" * 4300)),
        "an exponent is no integer": (b"1E3", Decimal("1E+3")),
        "nothing times anything is nothing": (b"0e99999999999999999999", Decimal(0)),
        "and is no underflow": (b"0e-999", Decimal(0)),
        "a whole surrogate pair is a character": (b'"\\ud83d\\ude00"', "\U0001f600"),
        "an escaped backslash before u0000 is no NUL": (b'"\\\\u0000"', "\\u0000"),
        "colons within texts are no members": (b'{"a:b":"c:\\u003ad"}', {"a:b": "c::d"}),
        "64 levels still pass": (b"[" * 64 + b"]" * 64, json.loads("[" * 64 + "]" * 64)),
        "blanks around": (b" null\n", None),
    },
)
def test_read(body: bytes, value: Any) -> None:
    """What has one reading is read, exactly."""
    outcome = parse(body)
    assert outcome == value
    assert type(outcome) is type(value)


def test_many_brackets_are_not_deep() -> None:
    """A batch of many small events passes the bound on depth, and one deep event among them does not."""
    shallow = [{"a": [i]} for i in range(500)]
    assert parse(json.dumps(shallow).encode()) == shallow
    deep = json.dumps(shallow)[:-1] + ',{"a":' + "[" * 63 + "]" * 63 + "}]"
    assert parse(deep.encode()) == MalformedJson("too_deep")


def test_a_malformed_body_keeps_no_value_in_its_error() -> None:
    """The error of a malformed body contains nothing of the body."""
    assert "canary" not in repr(parse(b'{"canary@example.com": "canary" "canary"}'))


# The slow parser: the standard library's, with every member shown to Python. The fast one must agree with it.
def slow(body: bytes) -> Any:
    """Read a body with the standard library; raises ValueError where the rules refuse it."""
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("mark")

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    def fraction(text: str) -> Decimal:
        number = float(text)
        try:
            exact = Decimal(text)
        except InvalidOperation:  # an exponent that Decimal cannot hold
            raise ValueError("range") from None
        if abs(number) == float("inf") or (number == 0) != (exact == 0) or len(text) > 4300:
            raise ValueError("range")
        return exact

    def constant(_: str) -> None:
        raise ValueError("constant")

    value = json.loads(
        body.decode("utf-8", "strict"),
        object_pairs_hook=members,
        parse_float=fraction,
        parse_constant=constant,
    )

    def judge(item: Any, depth: int) -> None:
        if isinstance(item, str):
            item.encode()
            if "\0" in item:
                raise ValueError("nul")
        elif isinstance(item, dict | list):
            if depth > 64:
                raise ValueError("deep")
            for part in [*item, *item.values()] if isinstance(item, dict) else item:
                judge(part, depth + 1)

    judge(value, 1)
    return value


FRAGMENTS = r"""
    { } [ ] : , " "a" "b" "a": "\u0061": "\u003a" ":" "a:b" 1 - 0 .5 e400 e-400 E3 1.50 true null NaN
    "\u0000" \u0000 "\ud83d \ude00 \ud800" \\ \" é {"a":1,"a":1} {"":{"":0}} \u003
"""
PIECES = (*FRAGMENTS.split(), *" \n\x00\x7f\u2028")


def random_text(rng: random.Random) -> str:
    return "".join(rng.choices('a:"\\é\U0001f600\0u03', k=rng.randrange(7)))


def random_json(rng: random.Random, depth: int = 0) -> Any:
    """Return a value of any JSON type."""
    match rng.randrange(5 if depth > 3 else 7):
        case 0:
            return rng.choice((None, True, False))
        case 1:
            return rng.randrange(-(10 ** rng.randrange(1, 30)), 10**9)
        case 2:
            return rng.uniform(-1, 1) * 10.0 ** rng.randrange(-30, 30)
        case 5:
            return [random_json(rng, depth + 1) for _ in range(rng.randrange(5))]
        case 6:
            return {random_text(rng): random_json(rng, depth + 1) for _ in range(rng.randrange(5))}
        case _:
            return random_text(rng)


def near_json(rng: random.Random) -> bytes:
    """JSON as another writer would put it, mostly good, some with a piece put in, cut out or doubled."""
    text = json.dumps(random_json(rng), ensure_ascii=rng.random() < 0.5)
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(text) + 1)
        until = at + rng.randrange(9)
        text = text[:at] + rng.choice((*PIECES, text[at:until] * 2)) + text[until:]
    body = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        at = rng.randrange(len(body) + 1)
        body = body[:at] + rng.randbytes(rng.randrange(1, 3)) + body[at:]
    return body


@pytest.mark.campaign
def test_the_fast_parser_agrees_with_the_slow_one() -> None:
    """Both read the same value, of the same types, or both refuse."""
    rng, read = random.Random(1), 0
    bodies = [b'{"a":"\\u003A","b":1}', b'{"a":{"a":1,"b":":"},"b":{"a":1,"b":":"}}']
    bodies += [near_json(rng) for _ in range(10_000)]
    bodies += ["".join(rng.choices(PIECES, k=rng.randrange(13))).encode() for _ in range(10_000)]
    bodies += [rng.randbytes(rng.randrange(65)) for _ in range(1_000)]
    for body in bodies:
        outcome = parse(body)
        try:
            expected = slow(body)
        except (ValueError, RecursionError):
            assert isinstance(outcome, MalformedJson), body
        else:
            read += 1
            assert not isinstance(outcome, MalformedJson), (body, outcome)
            assert repr(outcome) == repr(expected), body
    assert 3_000 < read < 12_000


def parsed_apart(body: bytes) -> Any:
    """Parse a body without its members, then each member; the body at once if a member is malformed."""

    def member(raw: Any, depth: int) -> Any:
        return parse(bytes(raw), max_depth=MAX_DEPTH - depth)

    outside = parse_outside(body, ("events", "rows"))
    if type(outside) is bytes:
        return member(outside, 0)
    if isinstance(outside, MalformedJson):
        return outside
    members = []
    if isinstance(outside, list):
        outside = members = [member(raw, 1) for raw in outside]
    elif isinstance(outside, dict):
        for name in {"events", "rows"} & outside.keys():
            if isinstance(outside[name], list):
                outside[name] = [member(raw, 2) for raw in outside[name]]
                members += outside[name]
    return parse(body) if any(isinstance(each, MalformedJson) for each in members) else outside


OUTSIDES = (
    b"%b",
    b" [%b]",
    b'[{"event_id":"a"},{"user":%b}]',
    b'{"events":%b}',
    b'{"destination_id" : "d", "events": [{}, %b]}',
    b'{"events":[{"a":%b}],"rows":[{}]}',
    b'{"events":[{}],"events":[%b]}',
    b'{"events":[{}],"\\u0065vents":[%b]}',
    b'{"rows":[{}],"beside":%b}',
    b'{"rows":{"a":1},"beside:\\u003a":[%b]}',
    b'{"rows":[{}],"\\u003a:":[%b],"x":1}',
    b'{"rows":[{}],"b":%b,"b":1,"\\u003a":2}',
    b'{"rows":[{}],"n\\u0000":%b}',
    b'{"events":[%b]',
)


def test_a_body_has_one_reading_whether_its_members_are_parsed_with_it_or_apart() -> None:
    """Both give the same value, or the same problem."""
    rng, same = random.Random(2), 0
    inside = [each.values[0] for each in REFUSED] + [near_json(rng) for _ in range(1_000)]
    inside += [b"[" * depth + b"]" * depth for depth in (61, 62, 63, 64)]
    for body in [outside % part for part in inside for outside in OUTSIDES]:
        together = parse(body)
        assert repr(parsed_apart(body)) == repr(together), body
        same += not isinstance(together, MalformedJson)
    assert 2_000 < same < 4_000


def test_an_escaped_nul_is_found_quickly() -> None:
    """A large body with `u0000` behind an escaped backslash takes about as long as one without it."""

    def seconds(end: str) -> float:
        body = json.dumps(["a" * 5_000_000, end]).encode()
        best = float("inf")
        for _ in range(5):
            start = time.process_time()
            assert not isinstance(parse(body), MalformedJson)
            best = min(best, time.process_time() - start)
        return best

    assert seconds("\\u0000") < 4 * seconds("/u0000")
