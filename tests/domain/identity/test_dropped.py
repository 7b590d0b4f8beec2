"""Traits that make no key, and why: the hash of nothing, of a filler or of a digest would join strangers.

And the limits of traits, exactly reached and passed by one.
"""

from typing import Final

import pytest

from app.domain.identity import clean, match_key
from app.domain.identity.keys import MATCH_KEYS, DropReason, MatchKey, Profile
from app.domain.identity.profiles import composed, unaccented, without_invisible
from tests.tables import cases

RULES: Final = {rule.field: rule for rule in MATCH_KEYS}
EMPTY_DIGEST: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def amazon(field: str, trait: str, country: str = "US") -> MatchKey | DropReason:
    return match_key(Profile.AMAZON, RULES[field], trait, country=country)


@cases(
    ("field", "trait", "why"),
    {
        "no text": ("email", "", DropReason.EMPTY),
        "white space": ("email", "   ", DropReason.EMPTY),
        "invisible characters": ("email", "\u200b\u00a0", DropReason.EMPTY),
        "a program's null": ("email", "null", DropReason.PLACEHOLDER),
        "an unfilled template": ("email", "{{email}}", DropReason.PLACEHOLDER),
        "a template filled in by half": ("email", "${user.email}@x.com", DropReason.PLACEHOLDER),
        "no at sign": ("email", "not-an-email", DropReason.NOT_AN_EMAIL),
        "two at signs": ("email", "a@b@c.com", DropReason.NOT_AN_EMAIL),
        "a header smuggled in": ("email", "a@x.com\r\nBcc: b@y.com", DropReason.NOT_AN_EMAIL),
        "a name in a script the rule strips": ("email", "ада@example.com", DropReason.NOT_AN_EMAIL),
        "MD5": ("email", "5f4dcc3b5aa765d61d8327deb882cf99", DropReason.UNUSABLE_DIGEST),
        "SHA-1": ("email", "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709", DropReason.UNUSABLE_DIGEST),
        "the digest of nothing": ("email", EMPTY_DIGEST.upper(), DropReason.EMPTY),
        "a filler in the form of a digest": ("email", "0" * 64, DropReason.PLACEHOLDER),
        "a Cyrillic name": ("last_name", "Дмитрий", DropReason.EMPTY),
        "no phone": ("phone", "n/a", DropReason.PLACEHOLDER),
        "a phone without digits": ("phone", "call me", DropReason.EMPTY),
        "phone zero": ("phone", "0", DropReason.PLACEHOLDER),
        "a phone of zeros": ("phone", "000-000-0000", DropReason.PLACEHOLDER),
        "zeros after the country code": ("phone", "+1 000 000 0000", DropReason.PLACEHOLDER),
        "letters for digits": ("phone", "555-CALL-NOW", DropReason.IMPOSSIBLE_PHONE),
        "no area code": ("phone", "555 0199", DropReason.IMPOSSIBLE_PHONE),
        "five hundred digits": ("phone", "1" * 500, DropReason.IMPOSSIBLE_PHONE),
        "two phones in one field": ("phone", "5551234567, 5559876543", DropReason.IMPOSSIBLE_PHONE),
        "tracking limited": ("maid", "00000000-0000-0000-0000-000000000000", DropReason.PLACEHOLDER),
        "tracking limited, without dashes": ("maid", "0" * 32, DropReason.PLACEHOLDER),
        "not a UUID": ("maid", "not-a-uuid", DropReason.NOT_A_UUID),
        "a hashed MAID": ("maid", "5f4dcc3b5aa765d61d8327deb882cf99", DropReason.UNUSABLE_DIGEST),
        "zeros for a ZIP code": ("postal", "00000", DropReason.PLACEHOLDER),
        "a network": ("fip", "203.0.113.0/24", DropReason.NOT_AN_IP_ADDRESS),
        "an address of one machine's wire": ("fip", "fe80::1%eth0", DropReason.NOT_AN_IP_ADDRESS),
        "no address at all": ("fip", "0.0.0.0", DropReason.PLACEHOLDER),
        "a blank address": ("fip", " ", DropReason.EMPTY),
        "a NUL in an address": ("fip", "203.0.113.7\x00", DropReason.CONTROL_CHARACTER),
        "an unfilled id": ("match_id", "{{id}}", DropReason.PLACEHOLDER),
        "a NUL in an id": ("ramp_id", "XY\x0012", DropReason.CONTROL_CHARACTER),
        "half a surrogate pair": ("ramp_id", "XY\ud800", DropReason.CONTROL_CHARACTER),
        "a blank id": ("kantar_id", " \t", DropReason.EMPTY),
    },
)
def test_amazon_drops(field: str, trait: str, why: DropReason) -> None:
    """The default profile drops the trait, says why, and shows no text for it."""
    assert amazon(field, trait) == why
    assert clean(Profile.AMAZON, RULES[field], trait, country="US") == ""


@pytest.mark.parametrize("profile", [Profile.SEGMENT, Profile.AMAZON_GTM])
@pytest.mark.parametrize(
    ("field", "trait", "why"),
    [
        ("email", "   ", DropReason.EMPTY),
        ("email", EMPTY_DIGEST, DropReason.EMPTY),
        ("phone", "n/a", DropReason.EMPTY),
        ("phone", "000-000-0000", DropReason.PLACEHOLDER),
        ("last_name", "Дмитрий", DropReason.EMPTY),
        ("postal", "\u00a0\ufeff", DropReason.EMPTY),
        ("maid", "00000000-0000-0000-0000-000000000000", DropReason.PLACEHOLDER),
        ("ramp_id", "XY\x0012", DropReason.CONTROL_CHARACTER),
        ("fip", "", DropReason.EMPTY),
    ],
)
def test_the_compatible_profiles_drop_only_what_says_nothing(
    profile: Profile, field: str, trait: str, why: DropReason
) -> None:
    """Where the connector they mirror would send the hash of nothing, they send nothing."""
    rule = RULES[field]
    if field == "postal" and profile is Profile.AMAZON_GTM:
        why = DropReason.EMPTY
    assert match_key(profile, rule, trait, country="US") == why


@cases(
    ("field", "trait", "same_as"),
    {
        "case, plus, a space": ("email", "USER+tag@Example.COM ", "usertag@example.com"),
        "no-break spaces": ("email", "\u00a0user@example.com\u00a0", "user@example.com"),
        "a zero-width space": ("email", "\u200buser@example.com", "user@example.com"),
        "BOM and soft hyphen": ("email", "\ufeffuser@exam\u00adple.com", "user@example.com"),
        "letters outside a-z are lost": ("email", "üser@exämple.de", "ser@exmple.de"),
        "accents typed apart": ("email", "u\u0308ser@exa\u0308mple.de", "üser@exämple.de"),
        "punctuation": ("phone", "+1 (555) 010-0199", "15550100199"),
        "a direction mark": ("phone", "+1\u202d5550100199", "15550100199"),
        "full-width digits": ("phone", "＋１ ５５５ ０１０ ０１９９", "15550100199"),
        "Arabic-Indic digits": ("phone", "+٤٩ ٣٠ ١٢٣٤٥٦", "+49 30 123456"),
        "a URI with an extension": ("phone", "tel:+1-555-010-0199;ext=12", "15550100199"),
        "a name typed apart": ("last_name", "Zoe\u0308", "Zoë"),
        "letters and digits are kept": ("last_name", "X Æ A-12", "xa12"),
        "a family's name is no placeholder": ("last_name", "Null", "null."),
        "an address typed apart": ("address", "12 Rue de l\u2019E\u0301glise", "12 rue de l’Église"),
        "dashes": ("maid", "AEBE52E703EE455AB3C4E57283966239", "AEBE52E7-03EE-455A-B3C4-E57283966239"),
    },
)
def test_one_person_has_one_key(field: str, trait: str, same_as: str) -> None:
    """Two ways of typing one trait give one key."""
    key = amazon(field, trait)
    assert isinstance(key, MatchKey)
    assert key == amazon(field, same_as)


@cases(
    ("field", "trait", "other"),
    {
        "a Cyrillic letter that looks Latin": ("email", "аdmin@example.com", "admin@example.com"),
        "punycode and its Unicode form": ("email", "user@xn--exmple-cua.de", "user@exämple.de"),
        "two country codes": ("phone", "+44 7911 123456", "+1 7911 123456"),
    },
)
def test_two_people_have_two_keys(field: str, trait: str, other: str) -> None:
    """What only looks alike does not become alike."""
    assert amazon(field, trait) != amazon(field, other)


@pytest.mark.parametrize("prefix", ["", "_"])
def test_an_address_has_at_most_254_characters(prefix: str) -> None:
    """After what Amazon drops is gone."""
    domain = "b" * 248
    assert isinstance(amazon("email", f"{prefix}a@{domain}.com"), MatchKey)
    assert amazon("email", f"{prefix}a@{domain}b.com") == DropReason.NOT_AN_EMAIL


@pytest.mark.parametrize("profile", Profile)
def test_a_match_id_has_at_most_100_characters(profile: Profile) -> None:
    assert isinstance(match_key(profile, RULES["match_id"], "a" * 100, country="US"), MatchKey)
    over = match_key(profile, RULES["match_id"], "a" * 101, country="US")
    assert over == DropReason.TOO_LONG


def test_thirty_marks_over_a_letter_stay() -> None:
    """One more is dropped; the next letter has thirty of its own."""
    mark = "\N{COMBINING GRAVE ACCENT BELOW}"
    assert composed("q" + mark * 30) == "q" + mark * 30
    assert composed("q" + mark * 31) == "q" + mark * 30
    assert composed(mark * 30 + "q") == mark * 30 + "q"
    assert composed(("q" + mark * 30) * 2) == ("q" + mark * 30) * 2
    assert composed("é" * 31) == "é" * 31


def test_letters_for_comparisons() -> None:
    """Without accents and punctuation, in lower case; invisible characters are no letters."""
    assert unaccented("Île-du-Prince-Édouard") == "ileduprinceedouard"
    assert unaccented("N.Y.") == "ny"
    assert without_invisible("a\u200bb\ufeffc") == "abc"
    assert without_invisible("plain") == "plain"


@pytest.mark.parametrize(
    ("trait", "country", "expected"),
    [
        ("12345-6789", "US", "12345"),
        ("1234567", "US", "12345"),
        ("1234567", "DE", "1234567"),
        ("1234a67", "US", "1234a67"),
        ("12345a7", "US", "12345"),
        ("00501", "US", "00501"),
    ],
)
def test_a_us_zip_code_is_cut_to_five_digits(trait: str, country: str, expected: str) -> None:
    """Only where its first five characters are digits."""
    assert clean(Profile.AMAZON, RULES["postal"], trait, country=country) == expected


@pytest.mark.parametrize(
    ("field", "trait", "why"),
    [
        *(
            ("first_name", "a" * length, DropReason.UNUSABLE_DIGEST)
            for length in (32, 40, 56, 96, 128)  # hex digits
        ),
        ("maid", "A" * 40, DropReason.UNUSABLE_DIGEST),
        ("maid", "A" * 64, DropReason.UNUSABLE_DIGEST),
        ("maid", "A" * 41, DropReason.NOT_A_UUID),
        ("maid", "AEBE52E703EE355AB3C4E57283966239", DropReason.UNUSABLE_DIGEST),
        ("maid", "AEBE52E703EE455AC3C4E57283966239", DropReason.UNUSABLE_DIGEST),
    ],
)
def test_digests_of_other_kinds_are_recognised_by_their_length(
    field: str, trait: str, why: DropReason
) -> None:
    assert amazon(field, trait) == why


@pytest.mark.parametrize("length", [31, 33, 39, 41, 55, 57, 95, 97, 127, 129])
def test_a_name_of_hex_digits_and_another_length_is_a_name(length: int) -> None:
    assert clean(Profile.AMAZON, RULES["first_name"], "A" * length, country="US") == "a" * length


@pytest.mark.parametrize("trait", ["XY\u00a012", "XY\u200b12", "é-1"])
def test_an_id_of_other_scripts_and_spaces_is_sent_as_it_is(trait: str) -> None:
    assert amazon("ramp_id", trait) == MatchKey(trait, "amazon.ramp_id")
