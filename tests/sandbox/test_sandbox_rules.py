"""Rules that the events call holds an event to, beside those that the conformance cases hold."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from sandbox import vocabulary
from sandbox.rules import judge
from tests.tables import cases

NOW = 1_795_521_600.0  # 2026-11-24T12:00:00Z
REMOVED = object()
DIGEST = "0123456789abcdef" * 4


def put(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Set or remove the member at `path` (`a.b[0].c`) of a copy."""
    changed = copy.deepcopy(event)
    steps: list[Any] = [int(word) if word.isdigit() else word for word in re.findall(r"\w+", path)]
    place: Any = changed
    for step in steps[:-1]:
        place = place[step]
    if value is REMOVED:
        del place[steps[-1]]
    else:
        place[steps[-1]] = value
    return changed


def row(rule: str, path: str, value: Any, code: str, where: str | None = None) -> Any:
    return pytest.param(path, value, code, path if where is None else where, id=rule)


KEY = "matchKeys[0]"
EMPTY, INVALID, NULL = "FIELD_VALUE_IS_EMPTY", "FIELD_VALUE_IS_INVALID", "FIELD_VALUE_IS_NULL"
CHARACTERS = "FIELD_VALUE_CONTAINS_INVALID_CHARACTERS"
LONG, SHORT = "FIELD_SIZE_IS_ABOVE_MAXIMUM_LIMIT", "FIELD_SIZE_IS_BELOW_MINIMUM_LIMIT"
ABOVE, BELOW = "FIELD_VALUE_IS_ABOVE_MAXIMUM_LIMIT", "FIELD_VALUE_IS_BELOW_MINIMUM_LIMIT"
TIME = "BAD_REQUEST"

REFUSED = [
    row("a member the schema does not have is refused", "dataSetId", "x1234", "BAD_REQUEST"),
    row("a member the schema does not have is refused when nested", "consent.x", 1, "BAD_REQUEST"),
    row("a member's name that could be a value is not repeated", "consent", {"ada@example.com": 1},
        "BAD_REQUEST", "consent"),
    row("null is not absent", "value", None, NULL),
    row("null is not absent when nested", "eventDescription.dataSetName", None, NULL),
    row("the description is an object", "eventDescription", "x", INVALID),
    row("an event name is not blank", "eventDescription.name", "  ", EMPTY),
    row("an event name is a string", "eventDescription.name", 5, INVALID),
    *(row(f"an event name has no {char}", "eventDescription.name", f"a{char}b", CHARACTERS)
      for char in "!@#$%^&*|+=(){}[]<>?\\/~;"),
    row("a conversion type is a string", "eventDescription.conversionType", ["LEAD"], INVALID),
    row("a dataset name has at least 5 characters", "eventDescription.dataSetName", "abcd", INVALID),
    row("a dataset name has at most 100 characters", "eventDescription.dataSetName", "a" * 101, INVALID),
    row("a dataset name has no space", "eventDescription.dataSetName", "my data", INVALID),
    row("a country is a string", "countryCode", 7, INVALID),
    row("an event time has a zone", "eventTime", "2026-11-24T12:00:00", TIME),
    row("an event time exists", "eventTime", "2026-02-30T12:00:00Z", TIME),
    row("an event time has an hour that exists", "eventTime", "2026-11-24T25:00:00Z", TIME),
    row("an event time has a year that exists", "eventTime", "0000-01-01T00:00:00Z", TIME),
    row("an event time is written in ASCII digits", "eventTime", "２０２６-11-24T12:00:00Z", TIME),
    row("an event time has an offset that exists", "eventTime", "2026-11-24T12:00:00+99:00", TIME),
    row("an event older than 21 days is refused", "eventTime", "2026-11-03T11:59:59Z", BELOW),
    row("an event 5 minutes ahead is refused", "eventTime", "2026-11-24T12:05:01Z", ABOVE),
    row("match keys are a list", "matchKeys", {}, INVALID),
    row("a match key is an object", KEY, "EMAIL", INVALID),
    row("a match key has a type", KEY, {"values": [DIGEST]}, EMPTY, f"{KEY}.type"),
    row("a match key has values", KEY, {"type": "EMAIL"}, EMPTY, f"{KEY}.values"),
    row("a match key has no further member", f"{KEY}.hashed", True, "BAD_REQUEST"),
    row("a match key's values are a list", f"{KEY}.values", DIGEST, INVALID),
    row("a hash is lower case", f"{KEY}.values[0]", DIGEST.upper(), INVALID),
    row("a hash has 64 digits", f"{KEY}.values[0]", DIGEST[:-1], INVALID),
    row("a hash has no line end", f"{KEY}.values[0]", DIGEST + "\n", INVALID),
    *(row(f"{kind} is hashed", KEY, {"type": kind, "values": ["clear"]}, INVALID, f"{KEY}.values[0]")
      for kind in sorted(vocabulary.HASHED_KEYS)),
    *(row(f"{kind} is not blank", KEY, {"type": kind, "values": [" "]}, EMPTY, f"{KEY}.values[0]")
      for kind in sorted(vocabulary.RAW_KEYS)),
    row("a raw key has no control characters", KEY, {"type": "MATCH_ID", "values": ["a\x00b"]}, CHARACTERS,
        f"{KEY}.values[0]"),
    row("FIP is a full address", KEY, {"type": "FIP", "values": ["10.0.0"]}, INVALID, f"{KEY}.values[0]"),
    row("a value is not a boolean", "value", True, INVALID),
    row("a purchase's value is not negative", "value", -0.01, BELOW),
    row("a value fits a double", "value", 10**400, INVALID),
    row("a currency is upper case", "currencyCode", "usd", INVALID),
    row("units are whole", "unitsSold", 2.0, INVALID),
    row("units are not a boolean", "unitsSold", True, INVALID),
    row("an event id is not empty", "eventId", "", EMPTY),
    row("consent is an object", "consent", "GRANTED", INVALID),
    row("an ad storage status is GRANTED or DENIED", "consent.amazonConsent.amznAdStorage", "granted",
        INVALID),
    row("a consent IP is an address", "consent.geo", {"ipAddress": "here"}, INVALID, "consent.geo.ipAddress"),
    row("a TCF string is of version 2", "consent.tcf", "BOEFEAyOEFEAyAHABDENAI4AAAB9vABAASA", INVALID),
    row("a TCF string is not empty", "consent.tcf", "", INVALID),
    row("a GPP string has its form", "consent.gpp", "DBABM ~x", INVALID),
    row("custom data is a list", "customData", {"brand": "acme"}, INVALID),
    row("a custom field has a name", "customData[0].name", REMOVED, EMPTY),
    row("a custom name is not empty", "customData[0].name", "", INVALID),
    row("a custom name has at most 256 characters", "customData[0].name", "n" * 257, INVALID),
    row("a custom name is ASCII", "customData[0].name", "größe", INVALID),
    row("a custom value has at most 256 characters", "customData[0].value", "v" * 257, LONG),
    row("a custom value has no control characters", "customData[0].value", "a\tb", CHARACTERS),
    row("an INTEGER custom value is one", "customData[0]", {"name": "a", "value": "x", "dataType": "INTEGER"},
        INVALID, "customData[0].value"),
    row("an INTEGER custom value fits 32 bits", "customData[0]",
        {"name": "a", "value": "2147483648", "dataType": "INTEGER"}, INVALID, "customData[0].value"),
    row("a TIMESTAMP custom value is one", "customData[0]",
        {"name": "a", "value": "noon", "dataType": "TIMESTAMP"}, INVALID, "customData[0].value"),
    row("a user agent has at most 512 characters", "deviceInfo", {"userAgent": "u" * 513}, LONG,
        "deviceInfo.userAgent"),
    row("device info has no further member", "deviceInfo", {"ip": "10.0.0.1"}, "BAD_REQUEST",
        "deviceInfo.ip"),
    row("an aref token is ten characters and thirteen digits", "arefMeasurementTokens", "abc.1795521600000",
        INVALID),
    row("aref tokens are joined by bars", "arefMeasurementTokens",
        "abcdefghij.1795521600000,abcdefghij.1795521600000", INVALID),
    row("an ad event key is a string", "amazonAdEventKey", 5, INVALID),
    row("a partner is not empty", "partner", "", EMPTY),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "code", "where"), REFUSED)
def test_an_event_is_refused_by_the_rule(
    event: Callable[..., dict[str, Any]], path: str, value: Any, code: str, where: str
) -> None:
    refusals = judge(put(event(), path, value), region="NA", now=NOW)
    assert [(one.code, one.where) for one in refusals] == [(code, where)]


@cases(
    ("path", "value"),
    {
        "the worked event as it is": ("countryCode", "US"),
        "exactly 21 days old": ("eventTime", "2026-11-03T12:00:00Z"),
        "exactly 5 minutes ahead": ("eventTime", "2026-11-24T12:05:00Z"),
        "RFC 3339 in lower case": ("eventTime", "2026-11-24t12:00:00z"),
        "a very large double": ("value", 1e300),
        "the largest 32-bit number of units": ("unitsSold", 2**31 - 1),
        "an IP address beside nothing": ("consent", {"geo": {"ipAddress": "2001:db8::1"}}),
        "a TCF 2 string": ("consent", {"tcf": "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA"}),
        "a GPP string": ("consent", {"gpp": "DBABMA~CPXxRfAPXxRfAAfKABENB-CgAAAA"}),
        "an empty list of custom fields": ("customData", []),
        "a custom value beyond letters and digits": ("customData[0].value", "49.99, or más"),
        "an INTEGER": ("customData[0]", {"name": "n", "value": "-5", "dataType": "INTEGER"}),
        "only an IP address as key": ("matchKeys", [{"type": "FIP", "values": ["192.0.2.1"]}]),
        "a name in any script": ("eventDescription.name", "Bestellung – Größe ’XL’: 5,0"),
    },
)
def test_an_event_is_accepted_with(event: Callable[..., dict[str, Any]], path: str, value: Any) -> None:
    assert judge(put(event(), path, value), region="NA", now=NOW) == []


@pytest.mark.parametrize("member", ["currencyCode", "unitsSold"])
def test_only_a_purchase_has(event: Callable[..., dict[str, Any]], member: str) -> None:
    """A currency or units on any other type are refused; a negative value there is not."""
    lead = put(event(value=-5), "eventDescription.conversionType", "LEAD")
    others = {"currencyCode", "unitsSold"} - {member}
    for other in others:
        del lead[other]
    assert [(r.code, r.where) for r in judge(lead, region="NA", now=NOW)] == [
        ("FIELD_VALUE_MUST_BE_EMPTY_OR_NULL", member)
    ]


CONSENT_OWED = [
    ("EU", "US"), ("EU", "AE"), ("NA", "DE"), ("NA", "NO"), ("NA", "IS"), ("NA", "LI"),
    ("NA", "GB"), ("NA", "CH"), ("NA", "OTHER_EEA"), ("FE", "FR"),
    ("NA", "RE"), ("NA", "GF"), ("NA", "GP"), ("NA", "MQ"), ("NA", "YT"), ("NA", "MF"), ("NA", "AX"),
]  # fmt: skip


@pytest.mark.parametrize(
    "consent",
    [REMOVED, {}, {"geo": {"ipAddress": "192.0.2.1"}}],
    ids=["absent", "empty", "only an address"],
)
@pytest.mark.parametrize(("region", "country"), CONSENT_OWED)
def test_consent_is_owed_by_the_european_host_and_by_european_countries_and_an_address_is_none(
    event: Callable[..., dict[str, Any]], region: str, country: str, consent: Any
) -> None:
    owed = put(event(countryCode=country), "consent", consent)
    assert [r.where for r in judge(owed, region=region, now=NOW)] == ["consent"]


@pytest.mark.parametrize(("region", "country"), [("NA", "US"), ("NA", "TR"), ("FE", "JP"), ("NA", "GG")])
def test_consent_is_not_owed_elsewhere(
    event: Callable[..., dict[str, Any]], region: str, country: str
) -> None:
    assert judge(put(event(countryCode=country), "consent", REMOVED), region=region, now=NOW) == []


def test_what_passed_once_lets_nothing_else_pass(event: Callable[..., dict[str, Any]]) -> None:
    """The memory of good descriptions and consents tells values of other types apart."""
    assert judge(event(), region="NA", now=NOW) == []
    spoilt = put(event(), "consent.amazonConsent.amznAdStorage", "DENIED ")
    assert [r.where for r in judge(spoilt, region="NA", now=NOW)] == ["consent.amazonConsent.amznAdStorage"]
    extra = put(event(), "eventDescription.extra", "x")
    assert [r.where for r in judge(extra, region="NA", now=NOW)] == ["eventDescription.extra"]


@pytest.mark.parametrize("path", ["eventDescription.eventSource", "consent.amazonConsent.amznUserData"])
def test_what_was_refused_once_is_refused_again(event: Callable[..., dict[str, Any]], path: str) -> None:
    for _ in range(2):
        assert [r.where for r in judge(put(event(), path, "NONE"), region="NA", now=NOW)] == [path]


def test_an_event_has_at_most_twenty_refusals(event: Callable[..., dict[str, Any]]) -> None:
    keys = [{"type": "X", "values": []} for _ in range(15)]  # two refusals each
    assert len(judge(event(matchKeys=keys), region="NA", now=NOW)) == 20


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "text", [], [[]], [{}], {}, {"a": None}], ids=repr)
def test_no_member_of_a_wrong_type_breaks_the_judge(event: Callable[..., dict[str, Any]], value: Any) -> None:
    """Whatever stands in any place, the answer is a list of refusals and no value is repeated in it."""
    assert isinstance(judge(value, region="NA", now=NOW), list)
    for path in [*event(), "eventDescription.name", "eventDescription.conversionType", f"{KEY}.type",
                 f"{KEY}.values", f"{KEY}.values[0]", "consent.amazonConsent", "customData[0]",
                 "customData[0].name", "customData[0].dataType"]:  # fmt: skip
        for refusal in judge(put(event(), path, value), region="EU", now=NOW):
            assert refusal.code in vocabulary.ERROR_CODES
            assert "text" not in refusal.message


def test_the_tables_have_the_size_of_amazons() -> None:
    """Countries, currencies, types, sources, match keys, error codes (schema of 2026-07-20)."""
    sizes = [
        len(vocabulary.COUNTRIES),
        len(vocabulary.CURRENCIES),
        len(vocabulary.CONVERSION_TYPES),
        len(vocabulary.EVENT_SOURCES),
        len(vocabulary.HASHED_KEYS | vocabulary.RAW_KEYS),
        len(vocabulary.ERROR_CODES),
    ]
    assert sizes == [252, 81, 12, 6, 15, 73]
