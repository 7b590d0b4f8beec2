"""What an operator is shown of an event before it is sent."""

from typing import Any

from conversions import NOW, RULES, compiled, document, event

from app.domain.conversion.convert import ConversionPlan, Rules
from app.domain.event import Event
from app.domain.observed import preview


def preview_of(content: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """Preview an event under a mapping."""
    return preview.preview(
        Event("x", "dst_1", "map_1", content), "x", ConversionPlan(compiled(made), Rules(**RULES)), now=NOW
    )


def test_each_step_says_where_a_field_came_from() -> None:
    """Source, whether a value was found, the rule, and a result without personal data."""
    made = document(
        {"custom_data": [{"name": "cat", "path": "c", "pipe": ["lower", "slug"]}]},
        maid="m",
        value="v",
        ip_address="ip",
    )
    content = event(c="Running Shoes", m="6d92078a-8246-4ba4-ae5b-76104861e7dc", v=5, ip="8.8.8.8")
    steps = {step["field"]: step for step in preview_of(content, made)["steps"]}
    assert steps["email"] == {
        "field": "email",
        "source": "user.email",
        "found": True,
        "rule": "amazon.email",
        "result": "sha256:b5fc85e5…",
    }
    assert steps["phone"]["found"] is False
    assert steps["maid"]["result"] == "…"
    assert steps["ip_address"]["result"] == "…"
    assert steps["value"]["result"] == 5
    assert steps["event_type"] == {
        "field": "event_type",
        "source": None,
        "found": True,
        "rule": "const",
        "result": "ADD_TO_SHOPPING_CART",
    }
    assert steps["custom_data.cat"]["rule"] == "lower | slug"
    assert steps["consent"]["result"] == "granted"


def test_a_refusal_shows_code_reason_field_and_sentence() -> None:
    """As the real call would answer it."""
    assert preview_of({"user": {"email": "ada@example.com"}}, document()) == {
        "ok": False,
        "code": "BAD_REQUEST",
        "reason": "timestamp_missing",
        "field": "event.timestamp",
        "mapping_field": "event_timestamp",
        "detail": "Event Timestamp is mapped to event.timestamp, which is absent.",
    }
