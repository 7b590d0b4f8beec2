"""`prehashed`: what a mapping says of match keys that come as a digest."""

import hashlib
from typing import Any

import pytest

from app.console.mappings.form import from_form, to_form
from app.console.mappings.view import statement_changes
from app.domain.conversion.convert import Conversion
from app.domain.event import Rejection
from app.domain.mapping.document import Mapping, check_draft, check_publishable, compile_mapping
from app.domain.observed.differences import changed_fields
from tests.domain.conversions import DOCUMENT, converted, document, event

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
