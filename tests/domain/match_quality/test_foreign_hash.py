"""Digests in place of match keys: what a mapping says of them, and whose digest it is, by twelve rules."""

import base64
import hashlib
import itertools
from typing import Any

import pytest

from app.console.mappings.form import from_form, to_form
from app.console.mappings.view import statement_changes
from app.domain.conversion.convert import Conversion
from app.domain.event import Rejection
from app.domain.identity.keys import MATCH_KEYS
from app.domain.mapping.document import Mapping, check_draft, check_publishable, compile_mapping
from app.domain.match_quality.foreign_hash import REMEDIES, explain_hash
from app.domain.observed.differences import changed_fields
from tests.domain.conversions import DOCUMENT, converted, document, event

RULES = {rule.field: rule for rule in MATCH_KEYS}
ADDRESS = "ada.l+news_1@example.com"  # Amazon's rule removes `+` and `_`
AT_AMAZON = "ada.lnews1@example.com"


def sha256(text: str | bytes) -> str:
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


# The rule, the field, the value in clear, the country, and the digest that another system made.
WORLD = [
    ("amazon", "email", ADDRESS, "US", sha256(AT_AMAZON)),
    ("amazon", "phone", "(415) 555-0132", "US", sha256("14155550132").upper()),
    ("e164_with_plus", "phone", "+1 (415) 555-0132", "US", sha256("+14155550132")),
    ("e164_with_plus", "phone", "030 901820", "DE", sha256("+4930901820")),
    ("national_number", "phone", "+49 170 1234567", "DE", sha256("01701234567")),
    ("national_number", "phone", "+1 415 555 0132", "US", sha256("4155550132")),
    ("untrimmed", "email", "ada@example.com", "US", sha256("ada@example.com\n")),
    ("untrimmed", "email", " ada@example.com ", "US", sha256(" ada@example.com ")),
    ("upper_case", "email", "ada@example.com", "US", sha256("ADA@EXAMPLE.COM")),
    ("upper_case", "first_name", "ada", "US", sha256("Ada")),
    ("dots_removed", "email", "ada.l@gmail.com", "US", sha256("adal@gmail.com")),
    ("dots_removed", "email", "ada.l+x@gmail.com", "US", sha256("adal@gmail.com")),
    ("md5", "email", "ada@example.com", "US", md5("ada@example.com").upper()),
    ("sha1", "email", "Ada@example.com", "US", hashlib.sha1(b"ada@example.com").hexdigest()),
    ("double_hashed", "email", "ada@example.com", "US", sha256(sha256("ada@example.com"))),
    (
        "base64",
        "email",
        "ada@example.com",
        "US",
        base64.b64encode(hashlib.sha256(b"ada@example.com").digest()).decode(),
    ),
    ("segment", "email", ADDRESS, "US", sha256("ada.l+news1@example.com")),
    ("amazon_gtm", "email", ADDRESS, "US", sha256("ada.lnews_1@example.com")),
]


@pytest.mark.parametrize(("rule", "field", "value", "country", "digest"), WORLD)
def test_the_rule_of_a_digest_is_named(rule: str, field: str, value: str, country: str, digest: str) -> None:
    """With the match key that Amazon needs, and what to change."""
    found = explain_hash(RULES[field], value, digest, country=country)
    assert (found.rule, found.matches_amazon) == (rule, rule == "amazon")
    assert found.rules[0] == rule
    assert found.remedy == REMEDIES[rule]
    assert found.expected is not None
    assert len(found.expected) == 64


def test_every_rule_of_the_interface_is_in_this_world() -> None:
    """Twelve, in the interface's order."""
    assert {rule for rule, *_ in WORLD} == set(REMEDIES)
    rules = (
        "amazon e164_with_plus national_number untrimmed upper_case dots_removed md5 sha1 double_hashed "
        "base64 segment amazon_gtm"
    )
    assert " ".join(REMEDIES) == rules


def test_no_digest_is_named_falsely() -> None:
    """The digest of one person's value fits no rule of another person's."""
    for (_, _, _, _, digest), (_, field, value, country, own) in itertools.product(WORLD, WORLD):
        found = explain_hash(
            RULES[field], f"other{value}" if field != "phone" else f"{value}7", digest, country=country
        )
        assert found.rules == (), (field, digest == own)
        assert not found.matches_amazon
    for nonsense in ("", "0", "no digest", "f" * 64, "g" * 64, "=" * 44):
        assert explain_hash(RULES["email"], "ada@example.com", nonsense, country="US").rules == ()


def test_a_rule_that_equals_amazons_is_listed_and_is_no_fault() -> None:
    """A plain address has the same digest under three rules."""
    found = explain_hash(RULES["email"], "ada@example.com", sha256("ada@example.com"), country="US")
    assert (found.matches_amazon, found.rules) == (True, ("amazon", "segment", "amazon_gtm"))


def test_a_rule_that_gives_amazons_text_is_not_named_beside_it() -> None:
    """A number typed with its country code is no national number, although its digits are its own."""
    found = explain_hash(RULES["phone"], "14155550132", sha256("14155550132"), country="US")
    assert found.rules == ("amazon", "segment", "amazon_gtm")


def test_a_value_without_match_key_and_a_key_that_goes_unhashed() -> None:
    """Neither has a digest that Amazon could want."""
    assert explain_hash(RULES["phone"], "000000", sha256("000000"), country="US").expected is None
    maid = "38400000-8cf0-11bd-b23e-10b96e40000d"
    assert explain_hash(RULES["maid"], maid, maid, country="US").matches_amazon
    hashed = explain_hash(RULES["maid"], maid, sha256(maid), country="US")
    assert (hashed.rule, hashed.expected) == (None, maid)
    assert "unhashed" in hashed.remedy
    shortened = explain_hash(RULES["maid"], maid, md5(maid), country="US")
    assert (shortened.rule, shortened.remedy) == ("md5", hashed.remedy)


def test_a_given_digest_is_what_amazon_gets_unless_it_is_hashed_again() -> None:
    """64 hexadecimal digits are passed as they are."""
    digest = sha256("ada@example.com")
    assert explain_hash(RULES["email"], digest.upper(), digest, country="US").matches_amazon
    assert explain_hash(RULES["email"], digest, sha256(digest), country="US").rule == "double_hashed"


def test_the_result_hides_the_key_from_repr() -> None:
    """It is derived from a person's value."""
    digest = sha256("ada@example.com")
    assert digest not in repr(explain_hash(RULES["email"], "ada@example.com", digest, country="US"))


DIGEST = hashlib.sha256(b"12025550173").hexdigest()


def outcome(prehashed: str | None, user: dict[str, Any], **fields: Any) -> Conversion | Rejection:
    return converted(event(user=user), document({"prehashed": prehashed}, **fields))


@pytest.mark.parametrize("prehashed", ["amazon", "unknown", None])
def test_a_digest_is_sent_unless_the_mapping_refuses_it(prehashed: str | None) -> None:
    """As before this member existed."""
    user = {"email": "ada@example.com", "phone": DIGEST}
    sent = outcome(prehashed, user)
    assert isinstance(sent, Conversion)
    assert sent.match_keys == ("EMAIL", "PHONE")
    refused = outcome("refuse", user)
    assert isinstance(refused, Conversion)
    assert refused.match_keys == ("EMAIL",)
    assert refused.dropped_keys == (("PHONE", "prehashed"),)
    assert [warning.code for warning in refused.warnings] == ["match_key_dropped"]


def test_an_event_whose_only_key_came_hashed_is_rejected() -> None:
    """Its detail names the cause and not the digest."""
    result = outcome("refuse", {"phone": DIGEST})
    assert isinstance(result, Rejection)
    assert result.reason == "no_match_key"
    assert "phone is prehashed" in result.detail
    assert DIGEST not in result.detail


def test_the_next_source_of_first_of_is_tried() -> None:
    """A refused digest fails the check of its member."""
    several = {"first_of": [{"path": "user.phone"}, {"path": "user.mobile"}]}
    result = outcome("refuse", {"phone": DIGEST, "mobile": "+1 202 555 0173"}, phone=several)
    assert isinstance(result, Conversion)
    assert result.match_keys == ("PHONE",)
    assert result.warnings == ()


def test_an_unknown_word_is_a_problem_and_the_member_is_optional() -> None:
    """In a draft and to publish."""
    for wrong in ("md5", 1, [], {}):
        assert [problem.path for problem in check_draft(document({"prehashed": wrong}))] == ["prehashed"]
    assert check_publishable(DOCUMENT) == []


def test_a_change_to_refuse_may_change_every_hashed_key() -> None:
    """So a backtest compares them; `amazon` and `unknown` send the same."""
    mappings = {}
    for word in ("refuse", "amazon", "unknown"):
        compiled = compile_mapping(document({"prehashed": word}))
        assert isinstance(compiled, Mapping)
        mappings[word] = compiled
    assert {"email", "phone"} <= changed_fields(mappings["unknown"], mappings["refuse"])
    assert changed_fields(mappings["unknown"], mappings["amazon"]) == set()


def test_the_form_and_the_statements_keep_it() -> None:
    """A document without it stays without it."""
    assert to_form(document({"prehashed": "refuse"})).prehashed == "refuse"
    assert to_form(DOCUMENT).prehashed == "unknown"
    assert from_form({"prehashed": "refuse"})["prehashed"] == "refuse"
    assert "prehashed" not in from_form({"prehashed": "unknown"})
    assert [
        each for each in statement_changes(None, document({"prehashed": "refuse"})) if "refuse" in str(each)
    ] != []
