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


@pytest.mark.parametrize(
    ("consent", "sent"),
    [
        pytest.param({"user_data": "GRANTED", "ad_storage": "GRANTED"}, GRANTED, id="the pair"),
        pytest.param({"user_data": "GRANTED"}, {"amznUserData": "GRANTED"}, id="user data alone suffices"),
        pytest.param(
            {"user_data": "GRANTED", "ad_storage": "DENIED"},
            {"amznUserData": "GRANTED", "amznAdStorage": "DENIED"},
            id="ad storage may be denied",
        ),
        pytest.param({"user_data": " true "}, {"amznUserData": "GRANTED"}, id="a word that means yes"),
        pytest.param({"user_data": "Opted_In"}, {"amznUserData": "GRANTED"}, id="in any case of letters"),
        pytest.param({"ad_storage": "GRANTED"}, None, id="ad storage alone says nothing"),
        pytest.param({"user_data": ""}, None, id="an empty word says nothing"),
        pytest.param({"user_data": None}, None, id="null says nothing"),
    ],
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


@pytest.mark.parametrize(
    "consent",
    [
        pytest.param({"user_data": True}, id="a boolean is no consent word"),
        pytest.param({"user_data": 1}, id="a number is none"),
        pytest.param({"user_data": ["GRANTED"]}, id="a list is none"),
        pytest.param({"user_data": "maybe"}, id="maybe is none"),
        pytest.param({"user_data": "GRANTED", "ad_storage": "?"}, id="nor may ad storage be unreadable"),
        pytest.param("GRANTED", id="consent that is a text has no members"),
    ],
)
def test_an_unreadable_consent_is_none(consent: Any) -> None:
    """What cannot be read is not guessed, even where no consent is needed."""
    outcome = refused(event(consent=consent), AMAZON)
    assert (outcome.reason, outcome.code) == ("consent_invalid", "CONSENT_NOT_PROVIDED")


@pytest.mark.parametrize(
    ("text", "granted"),
    [
        pytest.param(GOOD, True, id="vendor and purposes in the bit field"),
        pytest.param(core_string(ranges=True), True, id="the vendor as an entry"),
        pytest.param(core_string(ranges=True, vendors={5, 793}), True, id="the vendor as a later entry"),
        pytest.param(core_string(ranges=True, vendors={5, 10, 792}), True, id="the vendor within a range"),
        pytest.param(GOOD + ".IAAA.YAAA", True, id="with further segments"),
        pytest.param(core_string(vendors=set()), False, id="no vendor"),
        pytest.param(core_string(vendors={792, 794}), False, id="only its neighbours"),
        pytest.param(core_string(vendors={700}, vendor_ids=700), False, id="a list that ends before it"),
        pytest.param(core_string(ranges=True, vendors={10, 795}), False, id="ranges beside it"),
        pytest.param(core_string(purposes={1, 2, 3}), False, id="purpose 7 not given"),
        pytest.param(core_string(purposes={1, 7}), True, id="the two purposes alone"),
        pytest.param(core_string(purposes={2, 8}), False, id="only their neighbours"),
        pytest.param(core_string(vendor_ids=2000)[:190], None, id="cut after the vendor's own bit"),
        pytest.param(core_string(purposes={7}), False, id="purpose 1 not given"),
        pytest.param(core_string(version=1), None, id="version 1"),
        pytest.param(core_string(version=3), None, id="version 3"),
        pytest.param(GOOD[:60], None, id="cut short"),
        pytest.param(core_string(ranges=True)[:41], None, id="cut within the entries"),
        pytest.param("A" * 20_000, None, id="20,000 letters"),
        pytest.param("C" + "A" * 9_000, None, id="longer than any string"),
        pytest.param("TCF-STRING", None, id="a word"),
        pytest.param(GOOD + "=", None, id="padding"),
        pytest.param(GOOD + "..", None, id="empty segments"),
        pytest.param("C", None, id="one letter"),
        pytest.param("é" + GOOD, None, id="no base64url"),
    ],
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


@pytest.mark.parametrize(
    ("text", "good"),
    [
        pytest.param(
            "DBABMA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA", True, id="a header and a section"
        ),
        pytest.param("DBACNYA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN", True, id="two sections"),
        pytest.param("GPP-STRING", False, id="a word"),
        pytest.param("DBABMA", False, id="no section"),
        pytest.param("CPXxRfA~x", False, id="another header"),
        pytest.param("DBABMA~", False, id="an empty section"),
        pytest.param("DBABMA~a b", False, id="a blank within"),
        pytest.param("DBABMA~" + "a" * 4096, False, id="too long"),
    ],
)
def test_gpp_strings(text: str, good: bool) -> None:
    """Judged by form alone, and passed on."""
    outcome = converted(event(consent={"gpp": text}, user__country="DE"), GPP)
    if good:
        assert amazon_event(event(consent={"gpp": text}), GPP)["consent"] == {"gpp": text}
    else:
        assert outcome.reason == "consent_invalid"  # type: ignore[union-attr]
