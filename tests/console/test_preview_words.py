"""A preview in words: its JSON for reading, and what was done to each field."""

import json
from typing import Any

import pytest

from app.console.mapping_view import pretty_json, preview


def test_json_for_reading_is_short_and_the_same() -> None:
    """Leaves stand on a line; nothing is left out, and what is read back is what was written."""
    event = {
        "a": {"b": "é", "c": []},
        "matchKeys": [{"type": "EMAIL", "values": ["f" * 64]}],
        "n": 1.50,
        "l": ["x" * 60] * 3,
    }
    told = pretty_json(event)
    assert json.loads(told) == event
    assert '  "matchKeys": [{"type": "EMAIL", "values": ["' + "f" * 64 + '"]}],' in told
    assert pretty_json({}) == "{}"


@pytest.mark.parametrize(
    ("field", "rule", "result", "label", "done"),
    [
        ("email", "amazon.email", "sha256:b5fc85e5…", "Email", "normalised and hashed"),
        ("maid", "amazon_gtm.maid", "…", "MAID", "normalised"),
        ("phone", "dropped", None, "Phone Number", "invalid, left out"),
        ("event_type", "const", "LEAD", "Event Type", "constant"),
        ("custom_data.brand", "trim | lower", "acme", "Custom data: brand", "trim | lower"),
        ("value", "", 5, "Value", "unchanged"),
        ("consent", "gate", "granted", "Consent", "consent checked"),
    ],
)
def test_what_was_done_to_a_field_is_said_in_words(
    field: str, rule: str, result: Any, label: str, done: str
) -> None:
    """The rule's own word stays to be looked up; a pipe's functions are what the form calls them."""
    step = {"field": field, "source": "a.b", "found": True, "rule": rule, "result": result}
    (line,) = preview({"ok": True, "amazon_event": {}, "steps": [step], "warnings": []}).lines
    assert (line.label, line.rule, line.word) == (label, done, rule)
