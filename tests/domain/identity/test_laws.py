"""Laws of identity that hold for every text, profile and country."""

import hashlib
import re
import time
import unicodedata
from typing import Final

import phonenumbers
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.domain.conversion.amazon_codes import COUNTRIES
from app.domain.identity import clean, match_key
from app.domain.identity.keys import MATCH_KEYS, DropReason, MatchKey, MatchKeyRule, Profile
from app.domain.identity.placeholders import NOTHING_WORDS
from app.domain.identity.profiles import PROFILES, _amazon_name, _careful_name

RULES: Final = {rule.field: rule for rule in MATCH_KEYS}
HASHED: Final = [rule for rule in MATCH_KEYS if rule.hashed]
EMPTY_DIGEST: Final = hashlib.sha256(b"").hexdigest()

profiles = st.sampled_from(Profile)
rules = st.sampled_from(MATCH_KEYS)
countries = st.sampled_from(sorted(COUNTRIES))
# Any text, halves of surrogate pairs included, and texts close to what people type.
anything = st.text(st.characters(exclude_categories=()), max_size=60)
typed = st.text("aAzZ0159éÉüßñ .,@+-_#()/'\u0301\u0308\u200b\u00a0\nмح🙂", max_size=40)
traits = st.one_of(anything, typed)

# What may be left of a trait under the default profile.
ALPHABET: Final = {
    "email": r"[a-z0-9.@-]+",
    "phone": r"[1-9][0-9]{3,17}",
    "first_name": r"[a-z0-9]+",
    "last_name": r"[a-z0-9]+",
    "address": r"[a-z0-9]+",
    "city": r"[a-z0-9]+",
    "state": r"[a-z0-9]+",
    "postal": r"[a-z0-9]+",
}


@given(profile=profiles, rule=rules, trait=traits, country=countries)
def test_any_text_gives_a_key_or_a_word_why_not(
    profile: Profile, rule: MatchKeyRule, trait: str, country: str
) -> None:
    """Nothing raises; a hashed key is 64 hex digits and never the hash of nothing; a raw one is not blank."""
    match match_key(profile, rule, trait, country=country):
        case MatchKey(value, name):
            assert value != EMPTY_DIGEST
            assert value.strip()
            assert name in (f"{profile}.{rule.field}", "already_hashed")
            if rule.hashed:
                assert re.fullmatch("[0-9a-f]{64}", value)
        case DropReason() as why:
            assert re.fullmatch("[a-z_]+", why.value)
            assert clean(profile, rule, trait, country=country) == ""


@given(profile=profiles, rule=rules, trait=traits, country=countries)
def test_a_key_is_the_hash_of_the_cleaned_text(
    profile: Profile, rule: MatchKeyRule, trait: str, country: str
) -> None:
    """`clean` shows what `match_key` hashes, checked by hashing it here."""
    key = match_key(profile, rule, trait, country=country)
    assume(isinstance(key, MatchKey) and key.rule != "already_hashed")
    assert isinstance(key, MatchKey)
    text = clean(profile, rule, trait, country=country)
    wire = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() if rule.hashed else text
    assert key.value == wire


@given(rule=st.sampled_from(HASHED), trait=traits, country=countries)
def test_the_default_profile_keeps_to_its_alphabet(rule: MatchKeyRule, trait: str, country: str) -> None:
    """Nothing is left of a trait but the characters the schema names."""
    text = clean(Profile.AMAZON, rule, trait, country=country)
    assert not text or re.fullmatch(ALPHABET[rule.field], text)


# An address is no member: once cleaned it is a single word, which may be one of those that are shortened. Nor
# is a phone: without its plus, a completed number may be read as another country's own.
IDEMPOTENT: Final = ["email", "first_name", "last_name", "city", "state", "postal"]


@given(field=st.sampled_from(IDEMPOTENT), trait=traits, country=countries)
def test_cleaning_twice_is_cleaning_once(field: str, trait: str, country: str) -> None:
    """A text that is clean already stays as it is, so a caller who normalised loses nothing."""
    once = clean(Profile.AMAZON, RULES[field], trait, country=country)
    assume(once)
    assert clean(Profile.AMAZON, RULES[field], once, country=country) in (once, "")


@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(digits=st.from_regex(r"\+?[0-9 ()-]{6,16}", fullmatch=True), country=countries)
def test_a_completed_phone_is_complete_for_everyone(digits: str, country: str) -> None:
    """A completed number in its international form, given again with its plus, is the same in any country.

    One that is possible only may hold a trunk zero of its country, which the library drops the second time.
    """
    number = clean(Profile.AMAZON, RULES["phone"], digits, country=country)
    assume(number)
    read = phonenumbers.parse(f"+{number}")
    assume(phonenumbers.format_number(read, phonenumbers.PhoneNumberFormat.E164) == f"+{number}")
    assert clean(Profile.AMAZON, RULES["phone"], f"+{number}", country="JP") == number


@given(rule=st.sampled_from(HASHED), trait=traits, country=countries)
def test_an_accent_counts_the_same_however_it_was_typed(rule: MatchKeyRule, trait: str, country: str) -> None:
    """The composed and the decomposed form of a trait make one key in the default profile."""
    joined = unicodedata.normalize("NFC", trait)
    apart = unicodedata.normalize("NFD", trait)
    assert match_key(Profile.AMAZON, rule, joined, country=country) == match_key(
        Profile.AMAZON, rule, apart, country=country
    )


LONGEST: Final = 1024
HOSTILE: Final = {
    "letters": "a",
    "letters and dots": "a.",
    "at signs": "@",
    "plus signs": "+",
    "digits and letters": "1x",
    "extensions": "1234567x",
    "zeros": "0",
    "hashes": "#",
    "braces": "{",
    "spaces": " ",
    "words": "st ",
    "marks in no order": "\u0301\u0323",
    "letters with marks": "e\u0301",
    "a ligature that grows eighteenfold": "\ufdfa",
    "another script": "م",
    "zero-width spaces": "\u200b",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_no_text_makes_a_rule_slow(unit: str) -> None:
    """Eight times the text takes about eight times the processor, and never its square."""

    def seconds(length: int) -> float:
        text = "a" + (unit * length)[: length - 1]
        best = float("inf")
        for _ in range(7):
            start = time.process_time()
            for profile in Profile:
                for rule in MATCH_KEYS:
                    match_key(profile, rule, text, country="US")
            best = min(best, time.process_time() - start)
        return best

    # Linear growth is eightfold, quadratic 64-fold. Longer than any trait may be, so that growth shows;
    # processor time and the best of several runs, so that a busy machine does not.
    assert seconds(8 * LONGEST) < 24 * seconds(LONGEST)


def test_half_a_surrogate_pair_is_hashed_as_a_question_mark() -> None:
    """The one rule that keeps other scripts does not break on what UTF-8 cannot write."""
    key = match_key(Profile.SEGMENT, RULES["postal"], "12\ud800", country="US")
    assert key == MatchKey(hashlib.sha256(b"12?").hexdigest(), "segment.postal")


def test_every_profile_has_a_rule_for_every_key_and_names_its_source() -> None:
    """The tables are whole: 15 rows each, with a name of their own and a source."""
    for profile in Profile:
        rows = PROFILES[profile]
        assert {rule.type for rule in MATCH_KEYS} == set(rows)
        assert {row.name for row in rows.values()} == {f"{profile}.{rule.field}" for rule in MATCH_KEYS}
        assert all(row.source for row in rows.values())


NAMES = (
    st.sampled_from(sorted(NOTHING_WORDS))
    | st.text(alphabet="abcXYZ09-é ", max_size=40)
    | st.text(alphabet="abcdef", min_size=30, max_size=42)
    | st.text(max_size=40)
)


@settings(max_examples=1000)
@given(NAMES)
def test_a_plain_name_is_read_as_any_other(name: str) -> None:
    """Placeholders, digests of other kinds and letters of any script included."""
    assert _amazon_name(name, "US") == _careful_name(name, "US")
