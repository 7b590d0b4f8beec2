"""What each profile makes of a trait: golden vectors, each profile right for itself."""

import hashlib
from typing import Final

import pytest

from app.domain.identity import clean, match_key
from app.domain.identity.keys import MATCH_KEYS, MatchKey, MatchKeyType, Profile

RULES: Final = {rule.field: rule for rule in MATCH_KEYS}

# (field, trait, country, text): the same normalised text under each profile.
ALIKE: Final = [
    ("email", "test@example.com", "US", "test@example.com"),
    ("email", "Test@Example.com", "US", "test@example.com"),
    ("email", " Test.User@Example.COM ", "US", "test.user@example.com"),
    ("email", "user!#$%^&*@domain.com", "US", "user@domain.com"),
    ("email", "o'brien@example.ie", "US", "obrien@example.ie"),
    ("email", "müller@example.de", "US", "mller@example.de"),
    ("email", "first.last@sub-domain.example", "US", "first.last@sub-domain.example"),
    ("phone", "+1 (555) 123-4567", "US", "15551234567"),
    ("phone", "+44 7911 123456", "GB", "447911123456"),
    ("first_name", "John", "US", "john"),
    ("first_name", "Doe", "US", "doe"),
    ("first_name", "  Mary-Jane ", "US", "maryjane"),
    ("first_name", "O'Brien", "US", "obrien"),
    ("first_name", "José", "US", "jos"),
    ("first_name", "Van Der Berg", "US", "vanderberg"),
    ("address", "123 Main St.", "US", "123mainst"),
    ("address", "1600 Pennsylvania Ave NW", "US", "1600pennsylvaniaavenw"),
    ("city", "San Francisco", "US", "sanfrancisco"),
    ("city", "  New York ", "US", "newyork"),
    ("city", "St. Louis", "US", "stlouis"),
    ("city", "San José", "US", "sanjos"),
    ("city", "München", "US", "mnchen"),
    ("city", "San Francisco, CA", "US", "sanfranciscoca"),
    ("state", "CA", "US", "ca"),
    ("state", "N.Y.", "US", "ny"),
    ("state", "WA", "US", "wa"),
    ("postal", "94105", "US", "94105"),
    ("postal", "90210", "US", "90210"),
    ("postal", "SW1A 1AA", "GB", "sw1a1aa"),
    ("postal", "K1A 0B1", "CA", "k1a0b1"),
    ("postal", " 123 45 ", "US", "12345"),
    ("postal", "H0H 0H0", "CA", "h0h0h0"),
    ("postal", "H0H 0H0", "US", "h0h0h0"),
    ("maid", "6D92078A-8246-4BA4-AE5B-76104861E7DC", "US", "6D92078A-8246-4BA4-AE5B-76104861E7DC"),
    ("match_id", "loyalty-77", "US", "loyalty-77"),
    ("fip", "2001:4860:4860:0::8888", "US", "2001:4860:4860:0::8888"),
]
# (field, trait, country, amazon and amazon_gtm, segment): Segment's connector has its own text.
AGREED: Final = [
    ("email", "user+tag@domain.co.uk", "US", "usertag@domain.co.uk", "user+tag@domain.co.uk"),
    ("phone", "(555) 123-4567", "US", "15551234567", "5551234567"),
    ("phone", "555.123.4567", "US", "15551234567", "5551234567"),
    ("phone", "07911 123456", "GB", "447911123456", "07911123456"),
    ("phone", "00447911123456", "GB", "447911123456", "00447911123456"),
    ("phone", "06 12 34 56 78", "FR", "33612345678", "0612345678"),
    ("phone", "090-1234-5678", "JP", "819012345678", "09012345678"),
    ("address", "123 Main Street", "US", "123mainst", "123mainstreet"),
    ("address", "123 Main St, Apt #4", "US", "123mainstaptnumber4", "123mainstapt4"),
    ("address", "456 North Oak Avenue, Apt #5", "US", "456noakaveaptnumber5", "456northoakavenueapt5"),
    (
        "address",
        "03646 Nicholas Stravenue Mooretown",
        "US",
        "03646nicholasstramooretown",
        "03646nicholasstravenuemooretown",
    ),
    ("address", "10 Downing Street", "GB", "10downingst", "10downingstreet"),
    ("address", "Hauptstraße 5", "DE", "hauptstrasse5", "hauptstrae5"),
    ("state", "California", "US", "ca", "california"),
    ("state", "New York", "US", "ny", "newyork"),
    ("state", "West Virginia", "US", "wv", "westvirginia"),
    ("state", "District of Columbia", "US", "dc", "districtofcolumbia"),
    ("state", "Ontario", "CA", "on", "ontario"),
    ("postal", "12345-6789", "US", "12345", "12345-6789"),
    ("postal", "98101-1234", "US", "98101", "98101-1234"),
    ("address", "C/ Mayor 7", "ES", "callemayor7", "cmayor7"),
    ("address", "V.le Europa, 3", "IT", "vialeeuropa3", "vleeuropa3"),
    ("state", "Québec", "CA", "qc", "qubec"),
    ("state", "Puerto Rico", "US", "pr", "puertorico"),
    ("ramp_id", " XY1234 ", "US", "XY1234", " XY1234 "),
]
# (field, trait, country, amazon, segment, amazon_gtm): each profile has its own.
VECTORS: Final = [
    *((*row, row[-1], row[-1]) for row in ALIKE),
    *((*row, row[-2]) for row in AGREED),
    (
        "email",
        "john_doe@example.com",
        "US",
        "johndoe@example.com",
        "johndoe@example.com",
        "john_doe@example.com",
    ),
    ("phone", "(123) 456-7890", "US", "11234567890", "1234567890", "1234567890"),
    ("phone", " 555-123-4567 ext. 123", "US", "15551234567", "5551234567123", "15551234567123"),
    ("phone", "+49 (0)30 123456", "DE", "4930123456", "49030123456", "49030123456"),
    ("phone", "082 123 4567", "ZA", "27821234567", "0821234567", "821234567"),
    ("first_name", "Bob123", "US", "bob123", "bob123", "bob"),
    ("state", "Saxony-Anhalt", "DE", "saxonyanhalt", "saxonyanhalt", "sa"),
    ("address", "5 West Lake Dr", "US", "5westlkdr", "5westlakedr", "5wlkdr"),
    ("address", "5 Fleet Square", "GB", "5fleetsquare", "5fleetsquare", "5fleetsq"),
    ("address", "123 Main Street\nApt. 4", "US", "123mainstapt4", "123mainstreetapt4", "123mainstreetapt4"),
    ("city", "San Jose\u0301", "US", "sanjos", "sanjose", "sanjose"),
    ("state", "US-TX", "US", "tx", "ustx", "us"),
    ("state", "Georgia", "DE", "georgia", "georgia", "ga"),
    ("postal", "K1A-0B1", "CA", "k1a0b1", "k1a-0b1", "k1a"),
    ("maid", "test-maid-value", "US", "", "test-maid-value", "test-maid-value"),
    ("fip", "192.168.1.1", "US", "", "192.168.1.1", "192.168.1.1"),
    ("fip", "203.0.113", "US", "", "203.0.113", "203.0.113"),
]


# Digests that others published for texts of these vectors.
PUBLISHED: Final = {
    "test@example.com": "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b",
    "user+tag@domain.co.uk": "9d67084c8041c526dfe25a0aa26fcc00fc267d3e0b3e60d97781b0d9c48c2a33",
    "john_doe@example.com": "833295521c143ed42d17e7aa1a798657af618d5f9240714b1adba7ffdc9f8a6c",
    "15551234567": "d6736136ea896c1bfdc553e0e86e702c70d060d805696ca3e4e9e0961353860a",
    "12345-6789": "09d6f6e0c0c781a6c49153db62c72e4d8b159f742a42e8c4cfb18fc2b9c44224",
    "456noakaveaptnumber5": "324648a2bfdb264dca1b01484b6754b2306aeaf57198d917abdb7f5ccfcca372",
    "jos": "f854b2aeb789d616b26acff4df9ff7741d09d5f7a63add238201880e5b10bf2b",
}


@pytest.mark.parametrize(("field", "trait", "country", "amazon", "segment", "amazon_gtm"), VECTORS)
def test_each_profile_normalises_by_its_own_table(
    field: str, trait: str, country: str, amazon: str, segment: str, amazon_gtm: str
) -> None:
    """Each profile gives its own text; the key is that text or its SHA-256 and names the profile's rule."""
    rule = RULES[field]
    for profile, expected in zip(Profile, (amazon, segment, amazon_gtm), strict=True):
        assert clean(profile, rule, trait, country=country) == expected
        key = match_key(profile, rule, trait, country=country)
        if expected:
            digest = PUBLISHED.get(expected) or hashlib.sha256(expected.encode()).hexdigest()
            assert key == MatchKey(digest if rule.hashed else expected, f"{profile}.{field}")
        else:
            assert not isinstance(key, MatchKey)


def test_each_published_digest_is_that_of_a_vector() -> None:
    assert PUBLISHED.keys() <= {text for _, _, _, *texts in VECTORS for text in texts}


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("rule", [rule for rule in MATCH_KEYS if rule.hashed], ids=lambda rule: rule.field)
def test_a_digest_given_is_passed_in_lower_case_and_not_hashed_again(profile: Profile, rule: object) -> None:
    """64 hex digits in place of a trait are the key, whatever their case and the white space around them."""
    digest = "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"
    for given in (digest, digest.upper(), f" {digest}\n"):
        assert match_key(profile, rule, given, country="US") == MatchKey(digest, "already_hashed")  # type: ignore[arg-type]
    assert match_key(profile, rule, digest[:-1] + "g", country="US") != MatchKey(digest, "already_hashed")  # type: ignore[arg-type]


@pytest.mark.parametrize("digit", "123456789aAfF")
def test_a_digest_of_one_repeated_digit_is_passed_too(digit: str) -> None:
    """Position P8 passes all 64 hex digits; only zeros are a placeholder (P9)."""
    given = match_key(Profile.AMAZON, MATCH_KEYS[0], digit * 64, country="US")
    assert given == MatchKey(digit.lower() * 64, "already_hashed")


@pytest.mark.parametrize("profile", Profile)
def test_an_id_that_looks_like_a_digest_is_an_id(profile: Profile) -> None:
    """Raw keys are never tested for the shape of a hash: their case stays."""
    given = "973DFE463EC85785F5F95AF5BA3906EEDB2D931C24E69824A89EA65DBA4E813B"
    assert match_key(profile, RULES["ramp_id"], given, country="US") == MatchKey(given, f"{profile}.ramp_id")


def test_the_fifteen_keys_stand_in_the_order_in_which_an_event_carries_them() -> None:
    """Every wire type has one field, in the order the interface gives."""
    order = (
        "email phone first_name last_name address city state postal "
        "maid ramp_id match_id real_id merkle_id kantar_id fip"
    )
    assert [rule.field for rule in MATCH_KEYS] == order.split()
    assert [rule.type.lower() for rule in MATCH_KEYS] == order.split()
    assert {rule.type for rule in MATCH_KEYS} == set(MatchKeyType)


def test_traits_are_hashed_and_ids_are_not() -> None:
    """Source: Amazon's schema. A trait that is not hashed would leave in clear."""
    traits = "email phone first_name last_name address city state postal"
    assert [rule.field for rule in MATCH_KEYS if rule.hashed] == traits.split()


def test_a_key_does_not_show_its_value() -> None:
    """A key in a log line or traceback tells its rule alone."""
    assert repr(MatchKey("203.0.113.7", "amazon.fip")) == "MatchKey(rule='amazon.fip')"
