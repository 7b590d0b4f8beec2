"""What is stored of a response of Amazon: short, useful, and without a value of an event."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.amazon import wire
from app.amazon.messages import cut_values
from app.amazon.wire import DETAILS_HEADERS, MAX_DETAILS_BYTES, response_details
from app.domain.outcomes.outcome import ItemError, ResponseDetails

DIGEST = "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"
EVENT = {
    "eventId": "ord-1001:node-7",
    "name": "Added to cart",
    "conversionType": "ADD_TO_SHOPPING_CART",
    "value": 12.5,
    "countryCode": "US",
    "matchKeys": [{"type": "EMAIL", "values": [DIGEST]}, {"type": "MAID", "values": ["a-device"]}],
    "customData": [{"name": "brand", "dataType": "STRING", "value": "acme"}],
}
BODY = json.dumps(EVENT).encode()


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


def test_a_conversion_on_a_page_keeps_names_and_amounts() -> None:
    """Names, types, value and country stay; of a digest its first six digits; other values go."""
    assert cut_values(EVENT) == {
        **EVENT,
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
