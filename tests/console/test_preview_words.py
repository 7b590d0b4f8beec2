"""A preview in words: its JSON for reading, and what was done to each field."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from app.console.mappings.field_results import field_results
from app.console.mappings.view import pretty_json, preview
from app.domain.conversion.convert import Conversion, EventWarning
from app.domain.event import Rejection
from app.domain.observed.preview import FieldPreview


def test_json_for_reading_is_short_and_the_same() -> None:
    """Leaves stand on a line; nothing is left out, and what is read back is what was written."""
    event = {
        "a": {"b": "é", "c": []},
        "matchKeys": [{"type": "EMAIL", "values": ["f" * 64]}],
        "n": 1.50,
        "l": ["x" * 60] * 3,
    }
    text = pretty_json(event)
    assert json.loads(text) == event
    assert '  "matchKeys": [{"type": "EMAIL", "values": ["' + "f" * 64 + '"]}],' in text
    assert pretty_json({}) == "{}"


@pytest.mark.parametrize(
    ("field", "rule", "result", "done"),
    [
        ("email", "amazon.email", "sha256:b5fc85e5…", "normalised and hashed"),
        ("maid", "amazon_gtm.maid", "…", "normalised"),
        ("phone", "dropped", None, "invalid, left out"),
        ("event_type", "const", "LEAD", "constant"),
        ("custom_data.brand", "trim | lower", "acme", "trim | lower"),
        ("value", "", 5, "unchanged"),
        ("consent", "gate", "granted", "consent checked"),
    ],
)
def test_changes_of_a_field_are_described_in_words(field: str, rule: str, result: Any, done: str) -> None:
    """A pipe's functions are what the form calls them."""
    (line,) = field_results([FieldPreview(field, "a.b", result, rule)], {"brand": 2}).values()
    assert line.rule == done


@pytest.mark.parametrize(
    ("field", "expected"),
    [("email", "fields.email"), ("custom_data.brand", "custom.2"), ("country_code", "country_code")],
)
def test_a_result_stands_at_its_row(field: str, expected: str) -> None:
    """A row of custom data is known by its number, since its name can change."""
    assert list(field_results([FieldPreview(field, "a.b")], {"brand": 2})) == [expected]


@pytest.mark.parametrize(
    ("preview_", "text", "tone"),
    [
        (FieldPreview("email", "a", "sha256:b5fc85e5…", "amazon.email"), "sha256:b5fc85e5…", "good"),
        (FieldPreview("value", "a", 5), "5", "good"),
        (FieldPreview("limited_data_use", "a", True), "true", "good"),
        (FieldPreview("phone", "a", note="The sample has no a."), "", "warn"),
        (FieldPreview("phone", "a", note="It is a number.", rejects=True), "", "bad"),
    ],
)
def test_a_preview_has_a_result_or_a_reason(preview_: FieldPreview, text: str, tone: str) -> None:
    """Good, nothing, or a rejection of the event."""
    (line,) = field_results([preview_], {}).values()
    assert (line.text, line.note, line.tone) == (text, preview_.note or "", tone)


def test_a_rejection_has_the_label_of_its_field() -> None:
    """Beside its code, reason and sentence."""
    rejection = Rejection("no_match_key", "user.email", "email", "d", None)
    view = preview(rejection)
    assert (view.mapping_field, view.rejection) == ("Email", rejection)


def test_a_conversion_is_rendered_as_json_with_its_warnings() -> None:
    """A warning has the label of its field."""
    body = b'{"name":"lead","value":5}'
    warnings = (EventWarning("key_dropped", "email"),)
    view = preview(Conversion("e", "a", "LEAD", "lead", datetime.now(UTC), body, (), warnings))
    assert (view.rejection, json.loads(view.amazon)) == (None, {"name": "lead", "value": 5})
    assert view.warnings[0].endswith("(Email)")
