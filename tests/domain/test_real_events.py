"""A mapping suggested from the first events of a customer converts all events of the customer rightly.

`realistic_events.py` says what is true of each event. Names, languages, nesting, notations and forms of times
differ from family to family, and no family is named in the program.
"""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

import pytest

from app.domain.conversion.convert import Conversion, Rules
from app.domain.destination import Region
from app.domain.event import Event
from app.domain.identity.keys import Profile
from app.domain.mapping.document import Mapping, check_publishable
from app.domain.suggestions.suggest import Suggestion, SuggestionSettings, suggest
from tests.domain.conversions import compiled, convert
from tests.domain.orders import JSON, Truth, received
from tests.domain.realistic_events import FAMILIES, events_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULES = Rules("dst_a", "map_a", 1, Region.NA, Profile.AMAZON, "USD", None, {})
SAMPLE, ALL = 30, 120


@cache
def suggestion_for(family: str, seed: int) -> Suggestion:
    """Return the suggestion from the first events of a family."""
    events = [received(event) for event, _ in events_of(family, seed, SAMPLE, NOW)]
    return suggest(events, SuggestionSettings(FAMILIES[family].zone, Profile.AMAZON, {}, NOW))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_event_is_accepted_and_right(family: str, seed: int) -> None:
    """Its value, units, currency, time, e-mail, phone and advertising id are true."""
    suggestion = suggestion_for(family, seed)
    mapping = compiled({**suggestion.mapping})
    wrong = {
        number: problem
        for number, (event, truth) in enumerate(events_of(family, seed, ALL, NOW))
        if (problem := problem_of(received(event), truth, mapping, f"e{number}", FAMILIES[family].missing))
    }
    assert not wrong, (suggestion.rows, suggestion.undecided)


def problem_of(
    event: JSON, truth: Truth, mapping: Mapping, event_id: str, missing: tuple[str, ...] = ()
) -> str | None:
    """Return what is wrong with the conversion of an event; None if nothing is.

    A fact that is `missing` may be left out, but not be wrong.
    """
    outcome = convert(Event(event_id, "dst_a", "map_a", event), event_id, mapping, RULES, now=NOW)
    if not isinstance(outcome, Conversion):
        usable = truth.email or truth.phone or truth.maid
        return f"{outcome.reason}: {outcome.detail}" if usable or outcome.reason != "no_match_key" else None
    return wrong_fact(json.loads(outcome.body, parse_float=Decimal), truth, missing)


def wrong_fact(sent: JSON, truth: Truth, missing: tuple[str, ...] = ()) -> str | None:
    """Return what a sent event says wrongly; None if all is right."""
    keys = {key["type"]: key["values"][0] for key in sent["matchKeys"]}
    facts = (
        ("value", None if sent.get("value") is None else Decimal(sent["value"]), truth.value),
        ("units_sold", sent.get("unitsSold"), truth.units),
        ("currency", sent.get("currencyCode"), truth.currency),
        ("time", datetime.fromisoformat(sent["eventTime"]), truth.at),
        ("email", keys.get("EMAIL"), truth.email and sha256(truth.email)),
        ("phone", keys.get("PHONE"), truth.phone and sha256(truth.phone)),
        ("maid", keys.get("MAID"), truth.maid),
    )
    return next(
        (
            f"{name}: {found}, not {true}"
            for name, found, true in facts
            if found != true and not (found is None and name in missing)
        ),
        None,
    )


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mapping_is_complete_and_open_questions_are_named(family: str) -> None:
    """It can be published as it is; consent has to be confirmed, because no event of these carries it."""
    suggestion = suggestion_for(family, 3)
    assert not check_publishable(suggestion.mapping)
    undecided = {(each.field, each.reason) for each in suggestion.undecided}
    assert ("consent", "confirm_that_all_consented") in undecided
    assert suggestion.mapping["consent"] == {"mode": "granted"}
    assert suggestion.mapping["event_type"] == FAMILIES[family].event_type
    assert set(FAMILIES[family].missing) <= {field for field, _ in undecided}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_says_for_which_share_of_the_events_its_source_works(family: str) -> None:
    """The share of the e-mail is what is true of the given events."""
    given = [truth for _, truth in events_of(family, 1, SAMPLE, NOW)]
    rows = {row.field: row for row in suggestion_for(family, 1).rows}
    share = sum(truth.email is not None for truth in given) / SAMPLE
    if share:
        assert rows["email"].share == pytest.approx(share, abs=1e-4)
        assert rows["email"].source == suggestion_for(family, 1).mapping["fields"]["email"]
    assert rows["event_timestamp"].share == 1
    if given[0].value is not None and "value" not in FAMILIES[family].missing:
        assert rows["value"].share == 1


def test_times_without_a_zone_need_one() -> None:
    """Without it the mapping has no time, so that no event is sent with a wrong one."""
    events = [received(event) for event, _ in events_of("german_table", 1, SAMPLE, NOW)]
    suggestion = suggest(events, SuggestionSettings(None, Profile.AMAZON, {}, NOW))
    assert "event_timestamp" not in suggestion.mapping["fields"]
    assert ("event_timestamp", "zone_needed") in {(e.field, e.reason) for e in suggestion.undecided}


def test_the_order_of_day_and_month_follows_from_the_days_around_now() -> None:
    """In the first days of a month no number is above 12. The other reading would be months away."""
    for day_first, pattern in ((True, "%d/%m/%Y %H:%M"), (False, "%m/%d/%Y %H:%M")):
        early = datetime(2026, 11, 5, 12, tzinfo=UTC)
        events = [
            {"time": f"{early - timedelta(hours=n):{pattern}}", "email": "a@b.example"} for n in range(30)
        ]
        suggestion = suggest(events, SuggestionSettings("Europe/Paris", Profile.AMAZON, {}, early))
        formats = suggestion.mapping["fields"]["event_timestamp"]["pipe"][0][1]["formats"]
        assert ("D/M/YYYY H:mm" in formats) is day_first
        assert ("M/D/YYYY H:mm" in formats) is not day_first
