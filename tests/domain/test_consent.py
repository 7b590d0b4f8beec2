"""The consent gate: who may leave, who must stay, and what signal goes along (P7)."""

from base64 import urlsafe_b64encode
from collections.abc import Collection
from typing import Any

import pytest
from conversions import amazon_event, converted, document, event, refused
from hypothesis import given
from hypothesis import strategies as st

from app.domain.conversion import tcf
from app.domain.conversion.convert import Conversion
from app.domain.destination import Region
from tests.tables import cases

AMAZON = document(
    {"consent": {"mode": "amazon", "user_data": "consent.user_data", "ad_storage": "consent.ad_storage"}}
)
TCF = document({"consent": {"mode": "tcf", "string": "consent.tcf"}})
GPP = document({"consent": {"mode": "gpp", "string": "consent.gpp"}})
NONE = document({"consent": {"mode": "none"}}, ip_address="user.ip")


def core_string(
    *,
    vendors: Collection[int] = (793,),
    purposes: Collection[int] = range(1, 11),
    ranges: bool = False,
    version: int = 2,
    vendor_ids: int = 800,
) -> str:
    """Write a TCF core string bit by bit, as the specification lists its fields."""
    bits = (
        f"{version:06b}"
        + "0" * 36 * 2
        + "0" * 12 * 2
        + "0" * 6
        + "0" * 12
        + "0" * 12
        + "0" * 6
        + "11"
        + "0" * 12
    )
    bits += "".join("1" if p in purposes else "0" for p in range(1, 25)) + "0" * 24 + "0" + "0" * 12
    assert len(bits) == 213
    bits += f"{vendor_ids:016b}"
    if ranges:
        bits += "1" + f"{len(vendors):012b}"
        for first in sorted(vendors):
            bits += "0" + f"{first:016b}" if first % 2 else "1" + f"{first:016b}{first + 1:016b}"
    else:
        bits += "0" + "".join("1" if v in vendors else "0" for v in range(1, vendor_ids + 1))
    bits += "0" * (-len(bits) % 8)
    raw = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return urlsafe_b64encode(raw).decode().rstrip("=")


GRANTED = {"amznUserData": "GRANTED", "amznAdStorage": "GRANTED"}
GOOD = core_string()
OUTERMOST = ["RE", "GF", "GP", "MQ", "YT", "MF", "AX"]


@pytest.mark.parametrize(
    "country", ["DE", "FR", "NO", "IS", "LI", "GB", "CH", "OTHER_EEA", "de-AT", "UK", *OUTERMOST]
)
def test_a_country_that_asks_for_consent_gets_none_without(country: str) -> None:
    """Everywhere in the EEA, in the United Kingdom and in Switzerland an event without consent stays."""
    for made in (AMAZON, TCF, GPP, NONE):
        outcome = refused(event(user__country=country, user__ip="8.8.8.8"), made)
        assert (outcome.reason, outcome.code) == ("consent_missing", "CONSENT_NOT_PROVIDED")


def test_a_mapping_without_consent_says_so() -> None:
    """Where the mapping reads no consent, no field of the event is to blame."""
    outcome = refused(event(user__country="DE"), NONE)
    assert (outcome.field, outcome.mapping_field) == (None, "consent")
    assert outcome.detail == "Region or country requires consent, and the mapping's consent mode is none."


@pytest.mark.parametrize("country", ["US", "JP", "AU", "BR", "TR", "ZZ", "OTHER"])
def test_a_country_that_does_not_ask_gets_it_without(country: str) -> None:
    """Elsewhere an event without consent leaves, without a signal."""
    for made in (AMAZON, TCF, GPP, NONE):
        assert "consent" not in amazon_event(event(user__country=country), made)


@pytest.mark.parametrize("country", ["US", "AE", "IN"])
def test_the_european_host_asks_for_consent_whatever_the_country(country: str) -> None:
    """The destination's region decides too."""
    assert refused(event(user__country=country), NONE, region=Region.EU).reason == "consent_missing"
    assert amazon_event(event(user__country=country), region=Region.EU)["consent"] == {
        "amazonConsent": GRANTED
    }


def test_an_ip_address_is_no_consent() -> None:
    """It goes beside the signal, and alone it opens nothing."""
    made = document(ip_address="user.ip")
    sent = amazon_event(event(user__ip="8.8.8.8", user__country="DE"), made)
    assert sent["consent"] == {"geo": {"ipAddress": "8.8.8.8"}, "amazonConsent": GRANTED}
    assert list(sent["consent"]) == ["geo", "amazonConsent"]
    sent = amazon_event(event(user__ip="8.8.8.8"), NONE)
    assert sent["consent"] == {"geo": {"ipAddress": "8.8.8.8"}}


@cases(
    ("consent", "sent"),
    {
        "the pair": ({"user_data": "GRANTED", "ad_storage": "GRANTED"}, GRANTED),
        "user data alone suffices": ({"user_data": "GRANTED"}, {"amznUserData": "GRANTED"}),
        "ad storage may be denied": (
            {"user_data": "GRANTED", "ad_storage": "DENIED"},
            {"amznUserData": "GRANTED", "amznAdStorage": "DENIED"},
        ),
        "a word that means yes": ({"user_data": " true "}, {"amznUserData": "GRANTED"}),
        "in any case of letters": ({"user_data": "Opted_In"}, {"amznUserData": "GRANTED"}),
        "ad storage alone says nothing": ({"ad_storage": "GRANTED"}, None),
        "an empty word says nothing": ({"user_data": ""}, None),
        "null says nothing": ({"user_data": None}, None),
    },
)
def test_amazons_pair(consent: dict[str, Any], sent: dict[str, str] | None) -> None:
    """Read from the event, sent in Amazon's words."""
    assert amazon_event(event(consent=consent), AMAZON).get("consent") == (sent and {"amazonConsent": sent})


@pytest.mark.parametrize("region", list(Region))
@pytest.mark.parametrize(
    "word", ["DENIED", "denied", "no", "false", "0", "off", "disabled", "opted_out", "optout"]
)
def test_a_no_is_final_everywhere(word: str, region: Region) -> None:
    """Who denied the use of user data never leaves, whatever region and country."""
    outcome = refused(event(consent={"user_data": word, "ad_storage": "GRANTED"}), AMAZON, region=region)
    assert (outcome.reason, outcome.code) == ("consent_denied", "CONSENT_NOT_PROVIDED")
    assert (outcome.field, outcome.mapping_field) == ("consent.user_data", "consent.user_data")


@cases(
    "consent",
    {
        "a boolean is no consent word": {"user_data": True},
        "a number is none": {"user_data": 1},
        "a list is none": {"user_data": ["GRANTED"]},
        "maybe is none": {"user_data": "maybe"},
        "nor may ad storage be unreadable": {"user_data": "GRANTED", "ad_storage": "?"},
        "consent that is a text has no members": "GRANTED",
    },
)
def test_an_unreadable_consent_is_none(consent: Any) -> None:
    """What cannot be read is not guessed, even where no consent is needed."""
    outcome = refused(event(consent=consent), AMAZON)
    assert (outcome.reason, outcome.code) == ("consent_invalid", "CONSENT_NOT_PROVIDED")


@cases(
    ("text", "granted"),
    {
        "vendor and purposes in the bit field": (GOOD, True),
        "the vendor as an entry": (core_string(ranges=True), True),
        "the vendor as a later entry": (core_string(ranges=True, vendors={5, 793}), True),
        "the vendor within a range": (core_string(ranges=True, vendors={5, 10, 792}), True),
        "with further segments": (GOOD + ".IAAA.YAAA", True),
        "no vendor": (core_string(vendors=set()), False),
        "only its neighbours": (core_string(vendors={792, 794}), False),
        "a list that ends before it": (core_string(vendors={700}, vendor_ids=700), False),
        "ranges beside it": (core_string(ranges=True, vendors={10, 795}), False),
        "purpose 7 not given": (core_string(purposes={1, 2, 3}), False),
        "the two purposes alone": (core_string(purposes={1, 7}), True),
        "only their neighbours": (core_string(purposes={2, 8}), False),
        "cut after the vendor's own bit": (core_string(vendor_ids=2000)[:190], None),
        "purpose 1 not given": (core_string(purposes={7}), False),
        "version 1": (core_string(version=1), None),
        "version 3": (core_string(version=3), None),
        "cut short": (GOOD[:60], None),
        "cut within the entries": (core_string(ranges=True)[:41], None),
        "20,000 letters": ("A" * 20_000, None),
        "longer than any string": ("C" + "A" * 9_000, None),
        "padding": (GOOD + "=", None),
        "empty segments": (GOOD + "..", None),
        "no base64url": ("é" + GOOD, None),
    },
)
def test_tcf_strings(text: str, granted: bool | None) -> None:
    """The vendor needs consent for the purposes; a string that does not decode is no consent at all."""
    assert tcf.consents(text, vendor=793, purposes={1, 7}) is granted
    outcome = converted(event(consent={"tcf": text}, user__country="DE"), TCF)
    if granted:
        assert isinstance(outcome, Conversion)
    else:
        assert outcome.reason == ("consent_invalid" if granted is None else "consent_denied")  # type: ignore[union-attr]


def test_a_good_tcf_string_is_passed_on() -> None:
    """Just as it came, and nothing beside it."""
    assert amazon_event(event(consent={"tcf": GOOD}), TCF)["consent"] == {"tcf": GOOD}


@given(st.text(st.sampled_from("CABQgwZ0_-9."), max_size=300))
def test_no_string_makes_the_decoder_raise(text: str) -> None:
    """Any text has an answer."""
    assert tcf.consents("C" + text, vendor=793, purposes={1, 7}) in (True, False, None)


@cases(
    ("text", "good"),
    {
        "a header and a section": ("DBABMA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA", True),
        "two sections": ("DBACNYA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN", True),
        "a word": ("GPP-STRING", False),
        "no section": ("DBABMA", False),
        "another header": ("CPXxRfA~x", False),
        "an empty section": ("DBABMA~", False),
        "a blank within": ("DBABMA~a b", False),
        "too long": ("DBABMA~" + "a" * 4096, False),
    },
)
def test_gpp_strings(text: str, good: bool) -> None:
    """Judged by form alone, and passed on."""
    outcome = converted(event(consent={"gpp": text}, user__country="DE"), GPP)
    if good:
        assert amazon_event(event(consent={"gpp": text}), GPP)["consent"] == {"gpp": text}
    else:
        assert outcome.reason == "consent_invalid"  # type: ignore[union-attr]
