"""What is stored of Amazon's responses: its own words, short, and without a value of an event."""

import json
import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.amazon import messages, wire
from app.amazon.messages import cut_values
from app.amazon.wire import DETAILS_HEADERS, MAX_DETAILS_BYTES, response_details
from app.domain.conversion.members import FIELDS_OF_MEMBERS
from app.domain.identity.keys import MatchKeyType
from app.domain.outcomes.outcome import ItemError, ResponseDetails
from tests.tables import cases

DIGEST = "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"


@cases(
    ("spoken", "kept"),
    {
        "a plain sentence stays": ("eventTime is not RFC 3339", "eventTime is not RFC 3339"),
        "an e-mail address goes": ("ada@example.com is bad", "*** is bad"),
        "a digest goes": (f"hash {DIGEST} unknown", "hash *** unknown"),
        "half a digest goes": (f"hash {DIGEST.upper()[:40]} unknown", "hash *** unknown"),
        "a phone number goes": ("phone +1 (555) 010-0199 bad", "phone *** bad"),
        "a run of digits goes": ("phone 15550100199 bad", "phone *** bad"),
        "an IPv4 address goes": ("ip 192.168.1.1 bad", "ip *** bad"),
        "a short IPv4 address goes": ("ip 1.2.3.4 bad", "ip *** bad"),
        "an IPv6 address goes": ("ip 2001:0db8:85a3::8a2e:0370:7334 bad", "ip *** bad"),
        "a MAID goes": ("id 38400000-8cf0-11bd-b23e-10b96e40000d bad", "id *** bad"),
        "an opaque id goes": ("id XY1000bIwxFxxxAbc0192 bad", "id *** bad"),
        "a token of Amazon's goes": ("token Atza|IwEBIJ bad", "token *** bad"),
        "what stands between quotes goes": ("value 'Jane' bad", "value *** bad"),
        "an open quote goes to its end": ('value "Jane', "value ***"),
        "an apostrophe does not end a quote": ("value 'O'Brien' bad", "value *** bad"),
        "a word of the schema stays in quotes": ("member 'eventTime' bad", "member 'eventTime' bad"),
        "apostrophes are no quotes": ("the event's type isn't known", "the event's type isn't known"),
        "JSON goes whole": ('bad: {"matchKeys":[{"values":["x"]}]} there', "bad: *** there"),
        "JSON cut off goes to its end": ('bad: {"matchKeys":[{"va', "bad: ***"),
        "a path stays": ("events[3].value too low", "events[3].value too low"),
        "control characters become spaces": ("one\r\ntwo\x1b[31m\u202ethree", "one two [31m three"),
        "half a surrogate pair goes": ("\ud800", ""),
        "a word without end goes": (f"value {DIGEST * 3}, {'{'} and Jane", "value *** ***"),
        "a word cut in two goes": ("'" + "x " * 490 + "' bad ada-lovelace-of-london@example.com", "*** bad"),
        "a quote goes whole, however long": ("'" + "x" * 200 + " Jane' bad", "*** bad"),
        "at most 300 characters": ("x " * 500, ("x " * 150)[:299] + "…"),
        "nothing says nothing": (None, ""),
        "an object says nothing": ({"a": 1}, ""),
    },
)
def test_amazons_message_is_stored_without_possible_echoes(spoken: object, kept: str) -> None:
    """Shapes of personal data and of the event's values are taken out; Amazon's own words stay."""
    assert messages.scrub(spoken) == kept


def test_every_member_and_match_key_of_an_event_is_a_word_of_the_schema() -> None:
    """Amazon's message may quote it, and it is no value."""
    assert FIELDS_OF_MEMBERS.keys() | set(MatchKeyType) <= messages.SCHEMA_WORDS


EVENT = {
    "eventDescription": {"name": "Order"},
    "countryCode": "US",
    "matchKeys": [{"type": "EMAIL", "values": [DIGEST]}, {"type": "MATCH_ID", "values": ["abc"]}],
    "eventId": "ord-1",
    "consent": {"geo": {"ipAddress": "10.0.0.1"}, "amazonConsent": {"amznUserData": "GRANTED"}},
    "customData": [{"name": "brand", "value": "acme"}],
    "deviceInfo": {"userAgent": "Moz"},
}


def test_the_values_that_went_out_are_known() -> None:
    """Names, types, country and consent words are Amazon's vocabulary; the rest may be a person's."""
    assert messages.values_sent([EVENT, None, [], {"matchKeys": 5}]) == {
        DIGEST,
        "abc",
        "ord-1",
        "10.0.0.1",
        "acme",
        "Moz",
    }


@given(st.text(min_size=1, max_size=40), st.sampled_from(["is bad", "«", "(", " too long"]))
def test_no_value_that_was_sent_is_repeated(value: str, rest: str) -> None:
    """By value, whatever its shape, and however it is spelled."""
    kept = messages.scrub(f"Field {value.upper()} {rest}", sent=messages.values_sent([{"eventId": value}]))
    spoken = " ".join(value.split()).lower()
    if (
        len(spoken) > 2
        and spoken not in "field *** is bad « ( too long"
        and value not in messages.SCHEMA_WORDS
    ):
        assert spoken not in kept.lower()


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("BAD_REQUEST", "BAD_REQUEST"),
        ("bad", "?"),
        ("A" * 200, "?"),
        ("A@B", "?"),
        (DIGEST.upper(), "?"),
        ("AB" * 32, "?"),
        (None, "?"),
        (7, "?"),
    ],
)
def test_a_code_is_a_code_or_none(code: object, kept: str) -> None:
    """Nothing but a word in capitals passes for one, and no digest does."""
    assert messages.error_code(code, default="?") == kept


@pytest.mark.parametrize(
    "unit", ["1 ", "'", '"', "{:", "a1", "::", "+", "f", "@", "a@", "{[", "1.", "'a ", "a:", "[["]
)
def test_hostile_sentences_take_no_time(unit: str) -> None:
    """A reply of 500 of them must not hold up the worker: no pattern backtracks without end."""
    sent = frozenset(unit * times for times in range(1, 20))
    started = time.process_time()  # a busy machine takes longer
    for _ in range(50):
        messages.scrub(unit * 100_000, sent=sent)
    assert time.process_time() - started < 0.5


CART = {
    "eventId": "ord-1001:node-7",
    "name": "Added to cart",
    "conversionType": "ADD_TO_SHOPPING_CART",
    "value": 12.5,
    "countryCode": "US",
    "matchKeys": [{"type": "EMAIL", "values": [DIGEST]}, {"type": "MAID", "values": ["a-device"]}],
    "customData": [{"name": "brand", "dataType": "STRING", "value": "acme"}],
}
BODY = json.dumps(CART).encode()


def details(status: int, body: bytes, headers: dict[str, str], sent: int) -> ResponseDetails:
    """Return what is stored of a response to a request with this many equal conversions."""
    conversions = [BODY] * sent
    reply = wire.read_reply(status, headers, body, conversions)
    return response_details(reply, headers, body, conversions)


def test_equal_errors_of_items_are_one_row() -> None:
    """The place of the first, their number, their code, and Amazon's words without values of the event."""
    error = {
        "code": "BAD_REQUEST",
        "message": f"EMAIL {DIGEST} of acme is bad",
        "fieldLocation": "matchKeys[0]",
    }
    rows = [{"index": index, "errors": [error]} for index in (1, 3)]
    body = json.dumps({"success": [{"index": 0}, {"index": 2}], "error": rows}).encode()
    found = details(207, body, {"content-type": "application/json", "set-cookie": "a=b"}, 4)
    assert found == ResponseDetails(
        headers=(("content-type", "application/json"),),
        items=(ItemError(1, 2, "BAD_REQUEST", "EMAIL *** of *** is bad", "matchKeys[0]"),),
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 418, 500, 503])
def test_an_error_of_the_request_has_its_code_and_its_words(status: int) -> None:
    body = json.dumps({"code": "SOME_CODE", "message": "Ask ada@example.com or +1 555 010 0199."}).encode()
    found = details(status, body, {"retry-after": "30"}, 1)
    assert (found.code, found.message) == ("SOME_CODE", "Ask *** or ***.")
    assert ("retry-after", "30") in found.headers


MESSAGES = st.text(max_size=400) | st.just(f"x {DIGEST} y") | st.just("ada@example.com") | st.just("acme")


@given(
    st.lists(
        st.tuples(st.integers(0, 499), MESSAGES, st.sampled_from(["BAD_REQUEST", "CONFLICT"])), max_size=60
    ),
    st.dictionaries(st.sampled_from(DETAILS_HEADERS), st.text(max_size=200)),
    MESSAGES,
    st.sampled_from([200, 207, 400, 404, 429, 500]),
)
def test_no_response_is_longer_than_two_kib_or_repeats_a_value(
    errors: list[tuple[int, str, str]], headers: dict[str, str], message: str, status: int
) -> None:
    rows = [{"index": index, "errors": [{"code": code, "message": text}]} for index, text, code in errors]
    body = json.dumps({"error": rows, "message": message}).encode()
    found = details(status, body, headers, 500)
    stored = msgspec.json.encode(found)
    assert len(stored) <= MAX_DETAILS_BYTES
    assert msgspec.json.decode(stored, type=ResponseDetails) == found
    for secret in (DIGEST, "ada@example.com"):
        assert secret not in stored.decode()
    listed = sum(item.conversions for item in found.items)
    # A conversion that is not mentioned is an error, too. A body with NUL is not read.
    assert found.left_out > 0 or status > 299 or b"\\u0000" in body or listed == 500


@pytest.mark.parametrize("value", ["İstanbul", "Straße", "ŉx", "ΑΣ", "ſoft", "ǅungla"])
@pytest.mark.parametrize("spelled", [str, str.lower, str.upper, str.casefold])
def test_a_value_whose_case_changes_its_length_is_not_repeated(
    value: str, spelled: Callable[[str], str]
) -> None:
    """It stands without quotation marks, which would hide any text."""
    assert messages.scrub(f"Value {spelled(value)} is invalid", sent=[value]) == "Value *** is invalid"


def test_a_conversion_on_a_page_keeps_names_and_amounts() -> None:
    """Names, types, value and country stay; of a digest its first six digits; other values go."""
    assert cut_values(CART) == {
        **CART,
        "eventId": "***",
        "matchKeys": [{"type": "EMAIL", "values": ["973dfe…"]}, {"type": "MAID", "values": ["***"]}],
        "customData": [{"name": "brand", "dataType": "STRING", "value": "***"}],
    }


def test_errors_that_do_not_fit_are_counted() -> None:
    """The first ones stay."""
    rows = [
        {"index": index, "errors": [{"code": "BAD_REQUEST", "message": f"{'wrong again ' * 20}{index}"}]}
        for index in range(30)
    ]
    found = details(207, json.dumps({"error": rows}).encode(), {}, 30)
    assert found is not None
    assert len(msgspec.json.encode(found)) <= MAX_DETAILS_BYTES
    assert 0 < len(found.items) < 20
    assert [item.index for item in found.items] == list(range(len(found.items)))
    assert found.left_out == 30 - len(found.items)
