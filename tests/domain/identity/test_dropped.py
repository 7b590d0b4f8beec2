"""Traits that make no key, and why: the hash of nothing, of a filler or of a digest would join strangers."""

from typing import Final

import pytest

from app.domain.identity import clean, match_key
from app.domain.identity.keys import MATCH_KEYS, DropReason, MatchKey, Profile
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
        "a script's undefined": ("email", "undefined", DropReason.PLACEHOLDER),
        "not available": ("email", "N/A", DropReason.PLACEHOLDER),
        "an unfilled template": ("email", "{{email}}", DropReason.PLACEHOLDER),
        "a template filled in by half": ("email", "${user.email}@x.com", DropReason.PLACEHOLDER),
        "no at sign": ("email", "not-an-email", DropReason.NOT_AN_EMAIL),
        "two at signs": ("email", "a@b@c.com", DropReason.NOT_AN_EMAIL),
        "a header smuggled in": ("email", "a@x.com\r\nBcc: b@y.com", DropReason.NOT_AN_EMAIL),
        "no name": ("email", "@example.com", DropReason.NOT_AN_EMAIL),
        "no domain": ("email", "ada@", DropReason.NOT_AN_EMAIL),
        "a name in a script the rule strips": ("email", "ада@example.com", DropReason.NOT_AN_EMAIL),
        "MD5": ("email", "5f4dcc3b5aa765d61d8327deb882cf99", DropReason.UNUSABLE_DIGEST),
        "SHA-1": ("email", "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709", DropReason.UNUSABLE_DIGEST),
        "the digest of nothing": ("email", EMPTY_DIGEST.upper(), DropReason.EMPTY),
        "a filler in the form of a digest": ("email", "0" * 64, DropReason.PLACEHOLDER),
        "a name right to left": ("first_name", "محمد", DropReason.EMPTY),
        "a Cyrillic name": ("last_name", "Дмитрий", DropReason.EMPTY),
        "an emoji": ("last_name", "🙂", DropReason.EMPTY),
        "a database's NULL": ("last_name", "NULL", DropReason.PLACEHOLDER),
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
        "dashes": ("maid", "6d92078a82464ba4ae5b76104861e7dc", "6d92078a-8246-4ba4-ae5b-76104861e7dc"),
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
