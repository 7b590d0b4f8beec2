"""The limits of traits, exactly reached and passed by one."""

import pytest

from app.domain.identity import clean, match_key
from app.domain.identity.keys import MATCH_KEYS, DropReason, MatchKey, Profile
from app.domain.identity.profiles import composed, unaccented, without_invisible

RULES = {rule.field: rule for rule in MATCH_KEYS}


def amazon(field: str, trait: str, country: str = "US") -> MatchKey | DropReason:
    return match_key(Profile.AMAZON, RULES[field], trait, country=country)


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
    ("trait", "expected"),
    [
        ("+" + "4" * 20, DropReason.IMPOSSIBLE_PHONE),
        ("0" * 30, DropReason.PLACEHOLDER),
        ("", DropReason.EMPTY),
    ],
)
def test_phones_without_a_number(trait: str, expected: DropReason) -> None:
    assert amazon("phone", trait) == expected


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


@pytest.mark.parametrize(
    ("trait", "why"), [(" ", DropReason.EMPTY), ("203.0.113.7\x00", DropReason.CONTROL_CHARACTER)]
)
def test_an_ip_address_is_text_without_control_characters(trait: str, why: DropReason) -> None:
    assert amazon("fip", trait) == why


def test_a_bare_version_4_uuid_gets_its_dashes() -> None:
    assert amazon("maid", "AEBE52E703EE455AB3C4E57283966239") == MatchKey(
        "AEBE52E7-03EE-455A-B3C4-E57283966239", "amazon.maid"
    )
