"""What is shown of an event before it is sent, and of each field of a draft, complete or not."""

from decimal import Decimal
from typing import Any

import pytest
from conversions import NOW, RULES, compiled, document, event
from hypothesis import given
from hypothesis import strategies as st

from app.domain.conversion.convert import ConversionPlan, Rules, Step
from app.domain.destination import Region
from app.domain.event import Event
from app.domain.mapping.document import compile_parts
from app.domain.observed.preview import FieldPreview, preview, preview_fields
from tests.tables import cases


def preview_of(content: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """Preview an event under a mapping."""
    return preview(
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


# --- Each field on its own ------------------------------------------------------------------------


def previews(content: dict[str, Any], made: dict[str, Any], **rules: Any) -> dict[str, FieldPreview]:
    """Preview each field of a draft."""
    parts, trace = compile_parts(made), list[Step]()
    plan = ConversionPlan(parts, Rules(**{**RULES, **rules}))
    plan.convert(Event("x", "dst_1", "map_1", content), "x", NOW, trace=trace)
    return {each.field: each for each in preview_fields(trace, parts.event_name)}


def test_a_draft_shows_results_before_it_is_complete() -> None:
    """Without a type, a country and consent, and with a time that is missing in the event."""
    draft = {"name": "x", "fields": {"email": "user.email", "event_timestamp": "event.at", "value": "v"}}
    found = previews(event(v=5), draft)
    assert found["email"].result == "sha256:b5fc85e5…"
    assert (found["value"].result, found["value"].rejects) == (5, False)
    assert found["event_timestamp"].rejects
    assert found["event_timestamp"].note == "Event Timestamp is mapped to event.at, which is absent."


@cases(
    ("content", "made", "field", "note"),
    {
        "absent": (event(), document(), "phone", "The sample has no user.phone."),
        "dropped": (event(user__phone="none"), document(), "phone", "Left out: nothing valid remained."),
        "type": (
            event(user__phone=[5]),
            document(),
            "phone",
            "Left out: is a list, where a text is expected.",
        ),
        "no value": (
            event(),
            document({"country_code": "US"}, value="nope"),
            "value",
            "The sample has no nope.",
        ),
        "in a template": (
            event(a="x"),
            document({"custom_data": [{"name": "b", "template": "{a}-{nope}"}]}),
            "custom_data.b",
            "No value from a and nope.",
        ),
        "after a pipe": (
            event(a=[{"x": 1}]),
            document(units_sold={"path": "a", "pipe": [["where", "x", "is", 2], ["sum", "x"]]}),
            "units_sold",
            "No value from a.",
        ),
        "without user data": (
            event(),
            document({"consent": {"mode": "amazon", "user_data": "no", "ad_storage": {"const": "GRANTED"}}}),
            "consent.ad_storage",
            "Left out: Amazon takes it only with consent to user data.",
        ),
        "purchases only": (
            event(u=2),
            document(units_sold="u"),
            "units_sold",
            "Units sold are sent with purchases only.",
        ),
        "rounded": (
            event(v=Decimal("1.234")),
            document(value="v"),
            "value",
            "The value was rounded to two decimals.",
        ),
        "personal": (event(b="ada@example.com"), document({"custom_data": ["b"]}), "custom_data.b", "email"),
        "choice": (
            event(t="X"),
            document({"event_type": {"path": "t"}}),
            "event_type",
            "not in Amazon's list",
        ),
    },
)
def test_a_field_says_why_it_is_empty(
    content: dict[str, Any], made: dict[str, Any], field: str, note: str
) -> None:
    """Or what is unusual about its value. Only without a type the event would be rejected."""
    found = previews(content, made)[field]
    assert note in (found.note or "")
    assert found.rejects is (field == "event_type")


def test_a_second_name_of_an_event_type_is_reported_at_the_name() -> None:
    """R12, while the draft is typed."""
    found = previews(event(), document(), pins={"ADD_TO_SHOPPING_CART": "Cart"})["event_name"]
    assert found.rejects
    assert "“Cart”" in (found.note or "")


@pytest.mark.parametrize(
    ("consent", "content", "field", "result", "rejects"),
    [
        ({"mode": "amazon", "user_data": "c"}, {"c": "yes"}, "consent.user_data", "GRANTED", False),
        ({"mode": "amazon", "user_data": "c"}, {"c": "no"}, "consent.user_data", None, True),
        ({"mode": "amazon", "user_data": "c"}, {}, "consent.user_data", None, True),
        ({"mode": "tcf", "string": "c"}, {"c": "nonsense"}, "consent.string", None, True),
        ({"mode": "gpp", "string": "c"}, {"c": "DBAA~BAAA"}, "consent.string", "valid", False),
        ({"mode": "none"}, {}, "consent", None, True),
    ],
)
def test_consent_is_reported_at_its_source(
    consent: dict[str, Any], content: dict[str, Any], field: str, result: str | None, rejects: bool
) -> None:
    """Never the string itself."""
    found = previews(event(**content), document({"consent": consent}), region=Region.EU)[field]
    assert (found.result, found.rejects) == (result, rejects)


@pytest.mark.parametrize("draft", [{}, [], None, {"fields": 5}, {"custom_data": [5], "consent": "x"}])
def test_what_is_no_mapping_has_no_results(draft: Any) -> None:
    """Its problems are reported elsewhere."""
    assert previews(event(), draft) == {}


@given(
    st.dictionaries(
        st.sampled_from(["email", "phone", "total"]),
        st.none() | st.text("a@.1 ", max_size=12) | st.integers(),
    )
)
def test_a_field_gets_what_the_conversion_sends(values: dict[str, Any]) -> None:
    """Where the event is converted, the results of its fields are the steps of its conversion."""
    made = document(value="user.total")
    content = event(**{f"user__{name}": value for name, value in values.items()})
    shown = preview_of(content, made)
    found = previews(content, made)
    if shown["ok"]:
        for step in shown["steps"]:
            if step["field"] != "consent":
                assert found[step["field"]].result == step["result"]
    elif shown["reason"] != "no_match_key":
        assert any(each.rejects for each in found.values())
