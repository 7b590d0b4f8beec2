"""A draft's trial against recent events, as the publish page tells it; and times within sentences."""

from collections import Counter
from typing import Any

import pytest

from app.console.mappings.publish import backtest_view
from app.console.pages import timed
from app.domain.observed.backtest import Backtest, EventGroup

UNCLEAR = Counter(
    {
        EventGroup("content_unknown", "a", "event_type"): 200,
        EventGroup("repeats_unknown", "order", "event_id"): 20,
        EventGroup("content_unknown", None, "no_match_key"): 2,
    }
)


@pytest.mark.parametrize(
    ("changes", "tone", "headline", "effects"),
    [
        pytest.param({}, "good", "No changes for these events.", [], id="nothing changes"),
        pytest.param(
            {"events": 0},
            "quiet",
            "No recent events to test the draft on.",
            [],
            id="none",
        ),
        pytest.param(
            {"lost": Counter(PHONE=610)},
            "bad",
            "61 % of these events would lose a match key or be rejected.",
            ["610 (61 %) would lose Phone Number"],
            id="a broken phone path",
        ),
        pytest.param(
            {"lost": Counter(MAID=2), "unclear": UNCLEAR},
            "warn",
            "0.2 % of these events would lose a match key or be rejected.",
            ["2 (0.2 %) would lose MAID"],
            id="little",
        ),
        pytest.param(
            {"repeated_event_ids": 500, "newly_accepted": 1},
            "bad",
            "50 % of these events would lose a match key or be rejected.",
            [
                "500 (50 %) would be rejected: they repeat the event id of an earlier event",
                "1 (0.1 %) would be accepted",
            ],
            id="repeated ids",
        ),
        pytest.param(
            {"gained": Counter(CITY=1000)},
            "good",
            "None of these events would lose a match key or be rejected.",
            ["1,000 (100 %) would gain City"],
            id="only gains",
        ),
    ],
)
def test_what_a_draft_would_do(changes: dict[str, Any], tone: str, headline: str, effects: list[str]) -> None:
    """How many lose which match key comes first, in the words of the form."""
    shown = backtest_view(Backtest(**{"events": 1000, **changes}))
    assert (shown.tone, shown.headline) == (tone, headline)
    assert [f"{one.events} ({one.share}) {one.text}" for one in shown.effects] == effects


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
    assert [(one.events, one.text) for one in shown.unclear] == [
        ("200", "Event Type"),
        ("20", "event ids may repeat"),
        ("2", "no match key may be left"),
    ]


def test_expected_rejections_have_reason_and_remedy() -> None:
    """The reason in plain letters, the field as the form calls it, then what to do."""
    rejected = Counter({EventGroup("timestamp_missing", "a", "event_timestamp"): 5})
    [effect] = backtest_view(Backtest(events=1000, rejected=rejected)).effects
    assert effect.text.startswith("would be rejected: timestamp missing, Event Timestamp. ")


def test_a_time_in_a_sentence_becomes_the_viewers() -> None:
    """And nothing else of the sentence becomes markup."""
    shown = str(timed("Amazon answered <b>no</b> at 2026-11-24 10:00:02 UTC."))
    assert shown == (
        "Amazon answered &lt;b&gt;no&lt;/b&gt; at "
        '<time datetime="2026-11-24T10:00:02Z" data-seconds>2026-11-24 10:00:02 UTC</time>.'
    )
