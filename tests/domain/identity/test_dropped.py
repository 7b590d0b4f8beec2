"""Traits that make no key, and why: the hash of nothing, of a filler or of a digest would join strangers."""

from typing import Final

import pytest

from app.domain.identity import MATCH_KEYS, DroppedKey, DropReason, MatchKey, Profile, clean, match_key

RULES: Final = {rule.field: rule for rule in MATCH_KEYS}
EMPTY_DIGEST: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def amazon(field: str, trait: str, country: str = "US") -> MatchKey | DroppedKey:
    return match_key(Profile.AMAZON, RULES[field], trait, country=country)


@pytest.mark.parametrize(
    ("field", "trait", "why"),
    [
        pytest.param("email", "", DropReason.EMPTY, id="no text"),
        pytest.param("email", "   ", DropReason.EMPTY, id="white space"),
        pytest.param("email", "\u200b\u00a0", DropReason.EMPTY, id="invisible characters"),
        pytest.param("email", "null", DropReason.PLACEHOLDER, id="a program's null"),
        pytest.param("email", "undefined", DropReason.PLACEHOLDER, id="a script's undefined"),
        pytest.param("email", "N/A", DropReason.PLACEHOLDER, id="not available"),
        pytest.param("email", "{{email}}", DropReason.PLACEHOLDER, id="an unfilled template"),
        pytest.param(
            "email", "${user.email}@x.com", DropReason.PLACEHOLDER, id="a template filled in by half"
        ),
        pytest.param("email", "not-an-email", DropReason.NOT_AN_EMAIL, id="no at sign"),
        pytest.param("email", "a@b@c.com", DropReason.NOT_AN_EMAIL, id="two at signs"),
        pytest.param("email", "a@x.com\r\nBcc: b@y.com", DropReason.NOT_AN_EMAIL, id="a header smuggled in"),
        pytest.param("email", "@example.com", DropReason.NOT_AN_EMAIL, id="no name"),
        pytest.param("email", "ada@", DropReason.NOT_AN_EMAIL, id="no domain"),
        pytest.param(
            "email", "ада@example.com", DropReason.NOT_AN_EMAIL, id="a name in a script the rule strips"
        ),
        pytest.param("email", "5f4dcc3b5aa765d61d8327deb882cf99", DropReason.UNUSABLE_DIGEST, id="MD5"),
        pytest.param(
            "email", "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709", DropReason.UNUSABLE_DIGEST, id="SHA-1"
        ),
        pytest.param("email", EMPTY_DIGEST.upper(), DropReason.EMPTY, id="the digest of nothing"),
        pytest.param("email", "0" * 64, DropReason.PLACEHOLDER, id="a filler in the form of a digest"),
        pytest.param("first_name", "محمد", DropReason.EMPTY, id="a name right to left"),
        pytest.param("last_name", "Дмитрий", DropReason.EMPTY, id="a Cyrillic name"),
        pytest.param("last_name", "🙂", DropReason.EMPTY, id="an emoji"),
        pytest.param("last_name", "NULL", DropReason.PLACEHOLDER, id="a database's NULL"),
        pytest.param("phone", "n/a", DropReason.PLACEHOLDER, id="no phone"),
        pytest.param("phone", "call me", DropReason.EMPTY, id="a phone without digits"),
        pytest.param("phone", "0", DropReason.PLACEHOLDER, id="phone zero"),
        pytest.param("phone", "000-000-0000", DropReason.PLACEHOLDER, id="a phone of zeros"),
        pytest.param("phone", "+1 000 000 0000", DropReason.PLACEHOLDER, id="zeros after the country code"),
        pytest.param("phone", "555-CALL-NOW", DropReason.IMPOSSIBLE_PHONE, id="letters for digits"),
        pytest.param("phone", "555 0199", DropReason.IMPOSSIBLE_PHONE, id="no area code"),
        pytest.param("phone", "1" * 500, DropReason.IMPOSSIBLE_PHONE, id="five hundred digits"),
        pytest.param(
            "phone", "5551234567, 5559876543", DropReason.IMPOSSIBLE_PHONE, id="two phones in one field"
        ),
        pytest.param(
            "maid", "00000000-0000-0000-0000-000000000000", DropReason.PLACEHOLDER, id="tracking limited"
        ),
        pytest.param("maid", "0" * 32, DropReason.PLACEHOLDER, id="tracking limited, without dashes"),
        pytest.param("maid", "not-a-uuid", DropReason.NOT_A_UUID, id="not a UUID"),
        pytest.param(
            "maid", "5f4dcc3b5aa765d61d8327deb882cf99", DropReason.UNUSABLE_DIGEST, id="a hashed MAID"
        ),
        pytest.param("postal", "00000", DropReason.PLACEHOLDER, id="zeros for a ZIP code"),
        pytest.param("fip", "203.0.113.0/24", DropReason.NOT_AN_IP_ADDRESS, id="a network"),
        pytest.param(
            "fip", "fe80::1%eth0", DropReason.NOT_AN_IP_ADDRESS, id="an address of one machine's wire"
        ),
        pytest.param("fip", "0.0.0.0", DropReason.PLACEHOLDER, id="no address at all"),
        pytest.param("match_id", "{{id}}", DropReason.PLACEHOLDER, id="an unfilled id"),
        pytest.param("ramp_id", "XY\x0012", DropReason.CONTROL_CHARACTER, id="a NUL in an id"),
        pytest.param("ramp_id", "XY\ud800", DropReason.CONTROL_CHARACTER, id="half a surrogate pair"),
        pytest.param("kantar_id", " \t", DropReason.EMPTY, id="a blank id"),
    ],
)
def test_amazon_drops(field: str, trait: str, why: DropReason) -> None:
    """The default profile drops the trait, says why, and shows no text for it."""
    assert amazon(field, trait) == DroppedKey(why)
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
    assert match_key(profile, rule, trait, country="US") == DroppedKey(why)


@pytest.mark.parametrize(
    ("field", "trait", "same_as"),
    [
        pytest.param("email", "USER+tag@Example.COM ", "usertag@example.com", id="case, plus, a space"),
        pytest.param("email", "\u00a0user@example.com\u00a0", "user@example.com", id="no-break spaces"),
        pytest.param("email", "\u200buser@example.com", "user@example.com", id="a zero-width space"),
        pytest.param("email", "\ufeffuser@exam\u00adple.com", "user@example.com", id="BOM and soft hyphen"),
        pytest.param("email", "üser@exämple.de", "ser@exmple.de", id="letters outside a-z are lost"),
        pytest.param("email", "u\u0308ser@exa\u0308mple.de", "üser@exämple.de", id="accents typed apart"),
        pytest.param("phone", "+1 (555) 010-0199", "15550100199", id="punctuation"),
        pytest.param("phone", "+1\u202d5550100199", "15550100199", id="a direction mark"),
        pytest.param("phone", "＋１ ５５５ ０１０ ０１９９", "15550100199", id="full-width digits"),
        pytest.param("phone", "+٤٩ ٣٠ ١٢٣٤٥٦", "+49 30 123456", id="Arabic-Indic digits"),
        pytest.param("phone", "tel:+1-555-010-0199;ext=12", "15550100199", id="a URI with an extension"),
        pytest.param("last_name", "Zoe\u0308", "Zoë", id="a name typed apart"),
        pytest.param("last_name", "X Æ A-12", "xa12", id="letters and digits are kept"),
        pytest.param("last_name", "Null", "null.", id="a family's name is no placeholder"),
        pytest.param(
            "address", "12 Rue de l\u2019E\u0301glise", "12 rue de l’Église", id="an address typed apart"
        ),
        pytest.param(
            "maid", "6d92078a82464ba4ae5b76104861e7dc", "6d92078a-8246-4ba4-ae5b-76104861e7dc", id="dashes"
        ),
    ],
)
def test_one_person_has_one_key(field: str, trait: str, same_as: str) -> None:
    """Two ways of typing one trait give one key."""
    key = amazon(field, trait)
    assert isinstance(key, MatchKey)
    assert key == amazon(field, same_as)


@pytest.mark.parametrize(
    ("field", "trait", "other"),
    [
        pytest.param(
            "email", "аdmin@example.com", "admin@example.com", id="a Cyrillic letter that looks Latin"
        ),
        pytest.param(
            "email", "user@xn--exmple-cua.de", "user@exämple.de", id="punycode and its Unicode form"
        ),
        pytest.param("phone", "+44 7911 123456", "+1 7911 123456", id="two country codes"),
    ],
)
def test_two_people_have_two_keys(field: str, trait: str, other: str) -> None:
    """What only looks alike does not become alike."""
    assert amazon(field, trait) != amazon(field, other)
