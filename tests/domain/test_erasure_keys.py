"""Every spelling of an identifier that any identity profile accepts finds every other spelling of it."""

import hashlib
import ipaddress
import unicodedata
import uuid
from functools import cache
from itertools import product

import msgspec
import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.identity import match_key
from app.domain.identity.keys import MATCH_KEYS, MatchKey, Profile
from app.domain.privacy.carried_key import carried_key
from app.domain.privacy.erasure import HASH, IDENTIFYING_FIELDS, erasure_keys

_RULES = {rule.field: rule for rule in MATCH_KEYS}
_SPACES = st.sampled_from(["", " ", "  "])


@st.composite
def in_any_case(draw: st.DrawFn, text: str) -> str:
    """Return the text with the case of each letter at random, and spaces around it."""
    flips = draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    written = "".join(c.upper() if up else c.lower() for c, up in zip(text, flips, strict=True))
    return draw(_SPACES) + written + draw(_SPACES)


_LOCAL = st.text("abcdefghij0123456789.", min_size=1, max_size=8).filter(lambda text: text.strip("."))
_ACCENTS = st.sampled_from(["", "é", "ü", "ñ"])


@st.composite
def emails(draw: st.DrawFn) -> tuple[str, str]:
    address = (
        f"{draw(_LOCAL)}{draw(_ACCENTS)}{draw(st.sampled_from(['', '+news', '_b']))}@{draw(_LOCAL)}.example"
    )
    form = st.sampled_from(["NFC", "NFD"])
    first, second = [draw(in_any_case(unicodedata.normalize(draw(form), address))) for _ in range(2)]
    return first, second


@st.composite
def advertising_ids(draw: st.DrawFn) -> tuple[str, str]:
    id_ = uuid.UUID(int=draw(st.integers(1, 2**128 - 1)), version=4)

    def spelling() -> str:
        plain = draw(st.sampled_from([str(id_), id_.hex]))
        return draw(in_any_case(draw(st.sampled_from([plain, f"{{{plain}}}"]))))

    return spelling(), spelling()


@st.composite
def opaque_ids(draw: st.DrawFn) -> tuple[str, str]:
    id_ = draw(st.text("abcXYZ0189-_=/", min_size=1, max_size=40))
    return draw(in_any_case(id_)), draw(in_any_case(id_))


@st.composite
def addresses(draw: st.DrawFn) -> tuple[str, str]:
    address = draw(st.ip_addresses(v=4)) if draw(st.booleans()) else draw(st.ip_addresses(v=6))
    spellings = {str(address), address.exploded}
    if isinstance(address, ipaddress.IPv4Address):
        spellings |= {f"::ffff:{address}"}
    written = st.sampled_from(sorted(spellings))
    return draw(in_any_case(draw(written))), draw(in_any_case(draw(written)))


_COUNTRIES = ("US", "CA", "GB", "DE", "FR", "IT", "BR", "JP", "AU", "IN", "MX", "CH", "AR", "HU", "SG")


def phone_spellings(country: str) -> list[str]:
    """Return the ways to write the example of a mobile number of a country."""
    number = phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)
    code = str(number.country_code)
    national = phonenumbers.national_significant_number(number)
    trunk = phonenumbers.ndd_prefix_for_region(country, True) or ""
    return [
        f"+{code}{national}",
        f"+{code} {national[:3]} {national[3:]}",
        f"00{code}{national}",
        f"{code}-{national[:3]}-{national[3:]}",
        national,
        trunk + national,
        f"({national[:3]}) {national[3:]}",
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL),
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL),
        f"+{code} ({trunk}){national}",
        f"00{code} ({trunk}){national}",
        *([f"+521{national}", f"52 1 {national}"] if country == "MX" else []),  # as until 2019
    ]


@st.composite
def digests(draw: st.DrawFn) -> tuple[str, str]:
    digest = hashlib.sha256(draw(st.binary(min_size=1))).hexdigest()
    return draw(in_any_case(digest)), draw(in_any_case(digest))


_PAIRS = {
    "email": emails(),
    "maid": advertising_ids(),
    "fip": addresses(),
    **dict.fromkeys(("ramp_id", "match_id", "real_id", "merkle_id", "kantar_id"), opaque_ids()),
    HASH: digests(),
}


@cache
def values_of(field: str, text: str) -> frozenset[str]:
    return erasure_keys({field: text})[field]


def is_found(field: str, written: str, by: str, country: str = "US") -> list[tuple[Profile, bool]]:
    """Return for each profile that accepts `written` whether the spelling `by` finds its match key."""
    values = values_of(field, by)
    rule = _RULES["email" if field == HASH else field]
    result = []
    for profile in Profile:
        key = match_key(profile, rule, written, country=country)
        if isinstance(key, MatchKey):
            body = msgspec.json.encode({"matchKeys": [{"type": rule.type, "values": [key.value]}]})
            result.append((profile, carried_key(body, values) is not None))
    return result


def test_every_kind_of_identifier_has_spellings() -> None:
    assert set(_PAIRS) | {"phone"} == {*IDENTIFYING_FIELDS, HASH}


@pytest.mark.parametrize("field", sorted(_PAIRS))
@given(st.data())
def test_every_spelling_finds_every_other(field: str, data: st.DataObject) -> None:
    written, by = data.draw(_PAIRS[field])
    if not values_of(field, by):
        return
    assert all(found for _, found in is_found(field, written, by)), (written, by)


@pytest.mark.parametrize("country", _COUNTRIES)
def test_every_spelling_of_a_phone_number_finds_every_other(country: str) -> None:
    for written, by in product(phone_spellings(country), repeat=2):
        assert all(found for _, found in is_found("phone", written, by, country)), (written, by)


@pytest.mark.parametrize("written", ["+49 151 23456789", "+49 (0)151 23456789", "0049 (0)151/23456789"])
@pytest.mark.parametrize("country", ["DE", "US", "GB", "CH"])
def test_an_international_number_is_found_in_events_of_other_countries(written: str, country: str) -> None:
    """The tag template puts the calling code of the event's country before it."""
    assert all(found for _, found in is_found("phone", written, "+49 151 23456789", country))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("email", "   "),
        ("email", "# !"),
        ("phone", "none"),
        ("phone", "000-000"),
        ("maid", "00000000-0000-0000-0000-000000000000"),
        ("match_id", "a\nb"),
        ("match_id", "1" * 101),
        ("fip", "  "),
        (HASH, "0" * 64),
        (HASH, hashlib.sha256(b"").hexdigest()),
    ],
)
def test_an_identifier_without_a_match_key_has_no_values(field: str, text: str) -> None:
    assert erasure_keys({field: text}) == {field: frozenset()}


def test_a_number_of_one_country_finds_no_number_of_another() -> None:
    """A German number dialled at home looks like an American one, which has another international form."""
    values = erasure_keys({"phone": "+494155552671"})["phone"]
    assert hashlib.sha256(b"4155552671").hexdigest() in values
    assert hashlib.sha256(b"14155552671").hexdigest() not in values


def test_an_opaque_id_finds_no_other_id() -> None:
    """Dashes belong to an id that is no UUID, and an address is more than its digits."""
    for field, written, by in (
        ("match_id", "12-3", "123"),
        ("ramp_id", "XYab", "XYabc"),
        ("fip", "192.0.2.1", "192.0.2.10"),
        ("maid", str(uuid.UUID(int=7, version=4)), str(uuid.UUID(int=8, version=4))),
    ):
        assert not any(found for _, found in is_found(field, written, by))


def test_the_values_of_one_phone_number_are_few() -> None:
    """They are stored, and each worker compares events with them while the erasure is not finished."""
    assert len(erasure_keys({"phone": "+14155552671"})["phone"]) < 100
    assert len(erasure_keys({"phone": "415 555 2671"})["phone"]) < 3000
