"""What a version says and changes, in words and in the order of the form."""

from typing import Any

import pytest

from app.console.mappings.statements import statement_changes
from tests.api.world import MAPPING

RICH: dict[str, Any] = {
    "consent": {"mode": "amazon", "user_data": "c.user"},
    "custom_data": ["event.brand", {"name": "tier", "const": 5}],
    "fields": {
        "phone": {"path": "user.phone", "pipe": ["trim", ["replace", "a", "b"]], "default": "none"},
        "event_timestamp": "event.at",
    },
    "country_code": {"path": "user.country", "default": "US"},
    "event_name": "Bought",
    "event_source": {"const": "WEBSITE"},
    "event_type": {"path": "kind", "default": "OFF_AMAZON_PURCHASES"},
    "name": "Rich",
}


def test_a_version_is_described_in_words() -> None:
    """No JSON, no word of the API, whatever the order in the document."""
    pairs = [(each.label, each.now) for each in statement_changes(None, RICH)]
    assert pairs == [
        ("Mapping name", "Rich"),
        ("Event Timestamp", "from event.at"),
        ("Phone Number", 'from user.phone, transformed by trim | replace "a" "b"; if empty: none'),
        ("Custom data: brand", "from event.brand"),
        ("Custom data: tier", "always 5"),
        ("Event Type", "from kind; if empty: Off-Amazon Purchases"),
        ("Event Source", "Website"),
        ("Event Name", "Bought"),
        ("Country Code", "from user.country; if empty: US"),
        ("Consent", str(pairs[9][1])),
        ("Consent: user data", "from c.user"),
    ]
    assert "amazon" not in str(pairs[9][1])


def test_sources_that_read_several_fields_are_described_in_words() -> None:
    """Each member with its pipe, then what holds for all."""
    document = {
        "fields": {
            "email": {"first_of": [{"path": "a", "pipe": ["trim"]}, "b", {"const": 5}], "pipe": ["lower"]},
            "value": {"path": "items", "pipe": [["sum", "price"]], "default": 0, "on_error": "omit"},
            "event_id": {"template": "{a}-{b}"},
        }
    }
    assert [each.now for each in statement_changes(None, document)][1:] == [
        "from a, transformed by trim, else b, else 5, transformed by lower",
        'from items, transformed by sum "price"; if empty: 0; if unreadable: leave the field out',
        "from {a}-{b}",
    ]


@pytest.mark.parametrize(
    "after",
    [
        {**MAPPING, "event_source": {"const": "WEBSITE"}},
        dict(reversed(MAPPING.items())),
        {**MAPPING, "fields": dict(reversed(MAPPING["fields"].items()))},
    ],
)
def test_other_spelling_is_no_change(after: dict[str, Any]) -> None:
    """Short forms and order mean the same."""
    assert statement_changes(MAPPING, after) == []


def test_changes_are_listed_for_both_versions() -> None:
    """What is new, what is gone and what is other; in the order of the form."""
    after = {
        **MAPPING,
        "event_type": "CHECKOUT",
        "fields": {**MAPPING["fields"], "city": "user.city"},
        "custom_data": [],
    }
    rows = [(each.label, each.was, each.now) for each in statement_changes(MAPPING, after)]
    assert ("City", None, "from user.city") in rows
    assert rows[-1] == ("Event Type", "Add to Shopping Cart", "Checkout")
    assert all(now is None for label, _, now in rows if label.startswith("Custom data"))
