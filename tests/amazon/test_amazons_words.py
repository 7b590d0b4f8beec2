"""Amazon's words are kept without anything of a person's."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.amazon import messages
from app.domain.conversion.members import FIELDS_OF_MEMBERS
from app.domain.identity import MatchKeyType

DIGEST = "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"


@pytest.mark.parametrize(
    ("spoken", "kept"),
    [
        pytest.param("eventTime is not RFC 3339", "eventTime is not RFC 3339", id="a plain sentence stays"),
        pytest.param("ada@example.com is bad", "*** is bad", id="an e-mail address goes"),
        pytest.param(f"hash {DIGEST} unknown", "hash *** unknown", id="a digest goes"),
        pytest.param(f"hash {DIGEST.upper()[:40]} unknown", "hash *** unknown", id="half a digest goes"),
        pytest.param("phone +1 (555) 010-0199 bad", "phone *** bad", id="a phone number goes"),
        pytest.param("phone 15550100199 bad", "phone *** bad", id="a run of digits goes"),
        pytest.param("ip 192.168.1.1 bad", "ip *** bad", id="an IPv4 address goes"),
        pytest.param("ip 1.2.3.4 bad", "ip *** bad", id="a short IPv4 address goes"),
        pytest.param("ip 2001:0db8:85a3::8a2e:0370:7334 bad", "ip *** bad", id="an IPv6 address goes"),
        pytest.param("id 38400000-8cf0-11bd-b23e-10b96e40000d bad", "id *** bad", id="a MAID goes"),
        pytest.param("id XY1000bIwxFxxxAbc0192 bad", "id *** bad", id="an opaque id goes"),
        pytest.param("token Atza|IwEBIJ bad", "token *** bad", id="a token of Amazon's goes"),
        pytest.param("value 'Jane' bad", "value *** bad", id="what stands between quotes goes"),
        pytest.param('value "Jane', "value ***", id="an open quote goes to its end"),
        pytest.param("value 'O'Brien' bad", "value *** bad", id="an apostrophe does not end a quote"),
        pytest.param(
            "member 'eventTime' bad", "member 'eventTime' bad", id="a word of the schema stays in quotes"
        ),
        pytest.param(
            "the event's type isn't known", "the event's type isn't known", id="apostrophes are no quotes"
        ),
        pytest.param('bad: {"matchKeys":[{"values":["x"]}]} there', "bad: *** there", id="JSON goes whole"),
        pytest.param('bad: {"matchKeys":[{"va', "bad: ***", id="JSON cut off goes to its end"),
        pytest.param("events[3].value too low", "events[3].value too low", id="a path stays"),
        pytest.param(
            "one\r\ntwo\x1b[31m\u202ethree", "one two [31m three", id="control characters become spaces"
        ),
        pytest.param("\ud800", "", id="half a surrogate pair goes"),
        pytest.param(f"value {DIGEST * 3}, {'{'} and Jane", "value *** ***", id="a word without end goes"),
        pytest.param(
            "'" + "x " * 490 + "' bad ada-lovelace-of-london@example.com",
            "*** bad",
            id="a word cut in two goes",
        ),
        pytest.param("'" + "x" * 200 + " Jane' bad", "*** bad", id="a quote goes whole, however long"),
        pytest.param("x " * 500, ("x " * 150)[:299] + "…", id="at most 300 characters"),
        pytest.param(None, "", id="nothing says nothing"),
        pytest.param({"a": 1}, "", id="an object says nothing"),
    ],
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
