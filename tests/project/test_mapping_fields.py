"""A match key and any other field is in every list that names them. CONTRIBUTING.md says where they are."""

import argparse
from pathlib import Path

from app.admin.catalog import AMAZON
from app.api.privacy import Subject
from app.commands import api_commands
from app.domain.conversion.consent import Mode
from app.domain.conversion.members import FIELDS_OF_MEMBERS
from app.domain.conversion.values import CHECKS
from app.domain.identity.keys import MATCH_KEYS, MatchKeyType, Profile
from app.domain.identity.profiles import PROFILES
from app.domain.mapping.document import ACTION, FIELDS, MATCH_KEY_FIELDS, Group
from app.domain.privacy.erasure import HASH, IDENTIFYING_FIELDS
from app.domain.suggestions.names import SYNONYMS
from sandbox import vocabulary
from sandbox.conformance import lists

ROOT = Path(__file__).resolve().parents[2]
# Paths such as `ip` are proposed for the event's IP address, which Amazon does not match. Measurement tokens
# are part of a page's address.
WITHOUT_SYNONYMS = {"fip", "aref_measurement_tokens"}
OTHER_FIELDS = FIELDS.keys() - set(MATCH_KEY_FIELDS) - {"event_timestamp"}


def test_each_kind_has_a_field_and_a_rule_in_every_profile() -> None:
    """`MatchKeyType`, `MATCH_KEYS` and the three profiles name the same kinds."""
    kinds = set(MatchKeyType)
    assert {rule.type for rule in MATCH_KEYS} == kinds
    assert {profile: set(rules) for profile, rules in PROFILES.items()} == dict.fromkeys(PROFILES, kinds)


def test_each_choice_of_a_form_has_a_label() -> None:
    """The catalog has a row for each profile, consent mode and group."""
    profiles = next(field.options for field in AMAZON.fields if field.name == "identity_profile")
    assert {each.value for each in profiles or ()} == set(Profile)
    assert {each.value for each in AMAZON.consent_modes} == set(Mode)
    assert [each.value for each in AMAZON.mapping_groups] == list(Group)
    assert [each.value for each in AMAZON.actions] == [ACTION]


def test_each_match_key_is_a_field_of_the_form() -> None:
    """In the same order: the form shows the match keys as `MATCH_KEYS` has them."""
    assert tuple(name for name, row in FIELDS.items() if row.group is Group.MATCH_KEY) == MATCH_KEY_FIELDS


def test_the_stand_in_and_the_conformance_cases_know_each_kind() -> None:
    """Both are copied from Amazon's schema, not from the product."""
    hashed = {rule.type for rule in MATCH_KEYS if rule.hashed}
    assert vocabulary.HASHED_KEYS == hashed == set(lists.HASHED)
    assert set(MatchKeyType) - hashed == vocabulary.RAW_KEYS


def test_an_erasure_takes_each_identifying_field() -> None:
    """The API's body and the command's options are the fields that identify one person, and a hash."""
    fields = (*IDENTIFYING_FIELDS, HASH)
    assert tuple(Subject.model_fields) == fields
    parser = argparse.ArgumentParser(prog="./run erase")
    api_commands.arguments(parser)
    (field,) = (action for action in parser._actions if action.dest == "field")
    assert tuple(field.choices or ()) == fields


def test_each_field_is_suggested() -> None:
    """A field without synonyms is never suggested."""
    assert FIELDS.keys() - SYNONYMS.keys() == WITHOUT_SYNONYMS


def test_each_other_field_has_a_check_and_a_member() -> None:
    """`ip_address` is sent within the consent signal."""
    assert CHECKS.keys() == OTHER_FIELDS
    members = set(FIELDS_OF_MEMBERS.values())
    assert members - {"country_code", "event_timestamp"} == OTHER_FIELDS - {"ip_address"}


def test_a_field_is_named_in_at_most_three_files() -> None:
    """Its form, its check with its member, and the paths that are proposed for it."""
    files = [path for suffix in ("py", "toml") for path in (ROOT / "app").rglob(f"*.{suffix}")]
    places = [path for path in files if "amazon_ad_event_key" in path.read_text()]
    assert len(places) <= 3, places
