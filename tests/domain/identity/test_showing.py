"""What the hash tester shows: the normalised form, the match key, and why there is none."""

import hashlib

from app.domain.identity import MATCH_KEYS, MatchKeyRule, Profile
from app.domain.identity.showing import HashedTrait, hash_trait

RULES = {rule.field: rule for rule in MATCH_KEYS}


def rendered(rule: MatchKeyRule, text: str) -> HashedTrait:
    return hash_trait(Profile.AMAZON, rule, text, country="US")


def test_a_trait_is_rendered_as_amazon_gets_it() -> None:
    digest = hashlib.sha256(b"ada@example.com").hexdigest()
    assert rendered(RULES["email"], " Ada@Example.com") == HashedTrait(
        "ada@example.com", digest, "amazon.email", None
    )
    assert rendered(RULES["ramp_id"], " XY1 ") == HashedTrait("XY1", "XY1", "amazon.ramp_id", None)


def test_a_digest_has_no_normalised_form() -> None:
    """The text behind the hash is unknown."""
    digest = "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"
    assert rendered(RULES["email"], digest.upper()) == HashedTrait("", digest, "already_hashed", None)


def test_a_trait_without_a_key_says_why() -> None:
    assert rendered(RULES["email"], "null") == HashedTrait("", None, None, "placeholder")


def test_no_value_is_in_a_repr() -> None:
    assert (
        repr(rendered(RULES["email"], "ada@example.com")) == "HashedTrait(rule='amazon.email', dropped=None)"
    )
