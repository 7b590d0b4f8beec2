"""A mapping in the words of its form: trial, preview, problems, content of a version, and changes."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from app.console.mappings import backtest_view
from app.console.mappings.field_results import field_results, problem_views
from app.console.mappings.view import pretty_json, preview, statement_changes
from app.console.pages import timed
from app.console.wording import number, place_label, share
from app.domain.conversion.convert import Conversion, EventWarning
from app.domain.event import EventProblem, Rejection
from app.domain.mapping.document import check_draft, check_publishable
from app.domain.observed.backtest import Backtest
from app.domain.observed.preview import FieldPreview
from tests.api.world import MAPPING
from tests.tables import cases

UNCLEAR = Counter(
    {
        EventProblem("content_unknown", "a", "event_type"): 200,
        EventProblem("repeats_unknown", "order", "event_id"): 20,
        EventProblem("content_unknown", None, "no_match_key"): 2,
    }
)


@cases(
    ("changes", "tone", "headline", "effects"),
    {
        "nothing changes": ({}, "good", "No changes for these events.", []),
        "none": ({"events": 0}, "quiet", "No recent events to test the draft on.", []),
        "a broken phone path": (
            {"lost": Counter(PHONE=610)},
            "bad",
            "61 % of these events would lose a match key or be rejected.",
            ["610 (61 %) would lose Phone Number"],
        ),
        "little": (
            {"lost": Counter(MAID=2), "unclear": UNCLEAR},
            "warn",
            "0.2 % of these events would lose a match key or be rejected.",
            ["2 (0.2 %) would lose MAID"],
        ),
        "repeated ids": (
            {"repeated_event_ids": 500, "newly_accepted": 1},
            "bad",
            "50 % of these events would lose a match key or be rejected.",
            [
                "500 (50 %) would be rejected: they repeat the event id of an earlier event",
                "1 (0.1 %) would be accepted",
            ],
        ),
        "only gains": (
            {"gained": Counter(CITY=1000)},
            "good",
            "None of these events would lose a match key or be rejected.",
            ["1,000 (100 %) would gain City"],
        ),
    },
)
def test_what_a_draft_would_do(changes: dict[str, Any], tone: str, headline: str, effects: list[str]) -> None:
    """How many lose which match key comes first, in the words of the form."""
    shown = backtest_view(Backtest(**{"events": 1000, **changes}))
    assert (shown.tone, shown.headline) == (tone, headline)
    assert [f"{number(count)} ({share(count, 1000)}) {text}" for count, text in shown.effects] == effects


def test_no_change_is_claimed_only_where_it_is_certain() -> None:
    """A draft of another event type loses no key, and changes every event."""
    shown = backtest_view(Backtest(events=1000, changed=Counter(event_type=1000)))
    assert shown.headline == "None of these events would lose a match key or be rejected."
    assert shown.changed == "Event Type"


@pytest.mark.parametrize("more", [{}, {"changed": Counter(event_type=1000)}, {"gained": Counter(CITY=1)}])
def test_no_promise_is_made_where_a_result_is_unclear(more: dict[str, Any]) -> None:
    """Each unclear result is named, in the words of the form."""
    shown = backtest_view(Backtest(**{"events": 1000, "unclear": UNCLEAR, **more}))
    assert shown.headline == "No loss is certain for these events."
    assert shown.unclear == [
        (200, "Event Type"),
        (20, "event ids may repeat"),
        (2, "no match key may be left"),
    ]


def test_expected_rejections_have_reason_and_remedy() -> None:
    """The reason in plain letters, the field as the form calls it, then what to do."""
    rejected = Counter({EventProblem("timestamp_missing", "a", "event_timestamp"): 5})
    [(_, text)] = backtest_view(Backtest(events=1000, rejected=rejected)).effects
    assert text.startswith("would be rejected: timestamp missing, Event Timestamp. ")


def test_a_time_in_a_sentence_becomes_the_viewers() -> None:
    """And nothing else of the sentence becomes markup."""
    shown = str(timed("Amazon answered <b>no</b> at 2026-11-24 10:00:02 UTC."))
    assert shown == (
        "Amazon answered &lt;b&gt;no&lt;/b&gt; at "
        '<time datetime="2026-11-24T10:00:02Z" data-seconds>2026-11-24 10:00:02 UTC</time>.'
    )


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


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("event_type", "Event Type"),
        ("fields.phone", "Phone Number"),
        ("fields.event_timestamp.pipe[1]", "Event Timestamp, transform"),
        ("event_source.default", "Event Source, default value"),
        ("custom_data[2].name", "Custom Data Fields, row 3"),
        ("custom_data[0].path", "Custom Data Fields, row 1, event field"),
        ("custom_data.brand", "Custom data: brand"),
        ("consent.string", "Consent string"),
        ("", "The mapping"),
    ],
)
def test_a_place_is_called_as_the_form_calls_it(place: str, name: str) -> None:
    """Not by its path in the document, which is for programs."""
    assert place_label(place) == name


def test_problems_of_an_empty_mapping_use_labels() -> None:
    """Each line leads to its place on the form."""
    lacking = problem_views(check_publishable({"fields": {}}))
    assert sorted(one.label for one in lacking) == [
        "Consent",
        "Country Code",
        "Event Name",
        "Event Source",
        "Event Timestamp",
        "Event Type",
        "Match Keys",
    ]
    assert not any("_" in one.label + one.sentence for one in lacking)
    assert {one.anchor for one in lacking} <= {
        "fields",
        "settings",
        "consent",
        "f-event_type",
        "f-event_source",
        "f-event_name",
    }


def test_what_is_wrong_keeps_its_own_sentence() -> None:
    """Only what the label says already is left out of it."""
    wrong = check_draft({**MAPPING, "custom_data": [{"name": "a b", "path": "x"}]})
    (one,) = problem_views(wrong)
    assert one.label == "Custom Data Fields, row 1"
    assert one.sentence == "A custom name has 1 to 256 letters, digits and underscores."


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
