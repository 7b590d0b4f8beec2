"""Laws of the backtest: what it calls certain is true of real events, and it hides no difference."""

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from app.admin.mappings.trials import summary
from app.domain.conversion.convert import Conversion, Rules
from app.domain.conversion.tcf import consent_to_all
from app.domain.destination import Region
from app.domain.event import Event, Rejection
from app.domain.identity.keys import Profile
from app.domain.mapping.document import Mapping, compile_mapping
from app.domain.observed.backtest import Backtest, backtest
from app.domain.observed.differences import refused_fields, sent_facts
from app.domain.observed.fingerprints import fingerprint
from app.domain.observed.schema_sample import SampleGroup, SchemaSample, take_sample
from app.domain.suggestions.suggest import SuggestionSettings, suggest
from tests.domain.conversions import compiled, convert
from tests.domain.orders import received
from tests.domain.random_pairs import random_document, random_event
from tests.domain.realistic_events import FAMILIES, events_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULES = Rules("dst_x", "map_x", 1, Region.NA, Profile.AMAZON, "USD", None, {})
DIGEST = partial(fingerprint, key=b"pepper")
_LEAD: dict[str, Any] = {
    "event_type": "LEAD",
    "event_source": "WEBSITE",
    "event_name": "One",
    "country_code": "US",
    "consent": {"mode": "granted"},
}
_LONG_LISTS = {"rows_of_names"}  # a sample has five members of a list, and these need more


def group_of(sample: SchemaSample, outcome: Conversion | Rejection, *, version: int = 1) -> SampleGroup:
    """Return the group of one event, as it is stored after its conversion."""
    if isinstance(outcome, Rejection):
        return SampleGroup({sample: 1}, {}, version=version, accepted=False, facts=refused_fields(outcome))
    keys, facts = outcome.match_keys, sent_facts(outcome)
    return SampleGroup({sample: 1}, {}, version=version, match_keys=keys, facts=facts)


def wrong_verdict(
    found: Backtest, before: Conversion | Rejection, after: Conversion | Rejection
) -> str | None:
    """Return what the backtest says wrongly of an event or, where nothing is unclear, leaves out."""
    was = before if isinstance(before, Conversion) else None
    becomes = after if isinstance(after, Conversion) else None
    is_lost, is_new = bool(was and not becomes), bool(becomes and not was)
    if bool(found.rejected) > is_lost or bool(found.newly_accepted) > is_new:
        return "called rejected or accepted, which it is not"
    if not found.unclear_events and (bool(found.rejected), bool(found.newly_accepted)) != (is_lost, is_new):
        return "a rejection or acceptance is missing"
    if was and becomes:
        lost = set(was.match_keys) - set(becomes.match_keys)
        gained = set(becomes.match_keys) - set(was.match_keys)
        if not (set(found.lost) <= lost and set(found.gained) <= gained):
            return "a match key is called lost or gained that is not"
        if not found.unclear_events and (set(found.lost), set(found.gained)) != (lost, gained):
            return "a lost or gained match key is missing"
    elif found.lost or found.gained or found.changed:
        return "something is called changed in an event that is not sent before and after"
    differs = is_lost or is_new or (was and becomes and was.body != becomes.body)
    return "nothing is called changed" if differs and "nothing changes" in summary(found) else None


def changed_document(rng: random.Random, published: dict[str, Any]) -> dict[str, Any]:
    """Return the document with one to three members of another one."""
    draft, other = copy.deepcopy(published), random_document(rng)
    for _ in range(rng.randrange(1, 4)):
        member = rng.choice(
            ("event_type", "event_name", "country_code", "custom_data", "consent", "event_source")
        )
        if rng.random() < 0.4:
            draft[member] = other[member]
        else:
            name = rng.choice(sorted(draft["fields"].keys() | other["fields"].keys()))
            draft["fields"].pop(name, None)
            if name in other["fields"] or name == "event_timestamp":
                draft["fields"][name] = other["fields"][name]
    return draft


@pytest.mark.campaign
@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_called_certain_is_true(seed: int) -> None:
    """No event is called lost, gained or rejected that the real conversion treats otherwise.

    And whatever differs for the real event, the verdict on its sample does not say "nothing changes".
    """
    rng, judged = random.Random(seed), 0
    while judged < 1_500:
        written = random_document(rng)
        changed = changed_document(rng, written)
        # The samples are of the published version, or of the one before it, which may be known.
        before_that = rng.choice((written, changed_document(rng, written)))
        published, draft, earlier = map(compile_mapping, (written, changed, before_that))
        if not (
            isinstance(published, Mapping) and isinstance(draft, Mapping) and isinstance(earlier, Mapping)
        ):
            continue
        for _ in range(5):
            judged += 1
            is_current, is_known = rng.random() < 0.5, rng.random() < 0.5
            event = Event("e", "d", "m", random_event(rng))
            before = convert(event, "e", published, RULES, now=NOW)
            after = convert(event, "e", draft, RULES, now=NOW)
            mapping = published if is_current else earlier
            paths = [path for _, path in mapping.paths]
            sample = take_sample(event.content, paths, now=NOW, fingerprint=DIGEST)
            found = convert(event, "e", mapping, RULES, now=NOW)
            group = group_of(sample, found, version=int(is_current))
            if rng.random() < 0.5:  # earlier releases did not record the facts
                group = replace(group, facts=())
            result = backtest(
                [group],
                published,
                draft,
                RULES,
                fingerprint=DIGEST,
                now=NOW + timedelta(hours=1),
                older={0: earlier} if is_known else {},
            )
            assert wrong_verdict(result, before, after) is None, (written, changed, sample, result)


@pytest.mark.parametrize("family", FAMILIES)
def test_realistic_events_are_judged_rightly_and_mostly_clearly(family: str) -> None:
    """Each field of a suggested mapping is removed, and read from a path that no event has.

    Every second sample is of an older version, which had no custom data: it tells of the same fields.
    """
    now = datetime.now(UTC)
    events = [received(event) for event, _ in events_of(family, 3, 6, now)]
    zone = FAMILIES[family].zone
    suggestion = suggest(events, SuggestionSettings(zone, Profile.AMAZON, {}, now))
    written = {"country_code": "DE", **suggestion.mapping}
    published, older = compiled(written), compiled({**written, "custom_data": []})
    stored = []
    for number, content in enumerate(events):
        event = Event("e", "d", "m", content)
        before = convert(event, "e", published, RULES, now=now)
        sample = take_sample(content, [path for _, path in published.paths], now=now, fingerprint=DIGEST)
        stored.append((event, before, group_of(sample, before, version=number % 2)))
    judged, unclear = 0, 0
    for changed in _drafts(written):
        draft = compile_mapping(changed)
        if not isinstance(draft, Mapping):
            continue
        for event, before, group in stored:
            after = convert(event, "e", draft, RULES, now=now)
            result = backtest([group], published, draft, RULES, fingerprint=DIGEST, now=now, older={0: older})
            judged, unclear = judged + 1, unclear + result.unclear_events
            assert wrong_verdict(result, before, after) is None, (changed, result)
    assert judged >= 12
    assert unclear / judged <= (0.15 if family in _LONG_LISTS else 0.05), unclear


def _drafts(written: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in written["fields"]:
        fields = {field: source for field, source in written["fields"].items() if field != name}
        yield {**written, "fields": fields}
        yield {**written, "fields": {**fields, name: "nowhere.at_all"}}
    yield {**written, "event_name": "Other name"}
    yield {**written, "event_source": "ANDROID"}


def _judged(
    content: dict[str, Any], fields: dict[str, Any], added: dict[str, Any]
) -> tuple[Conversion | Rejection, Conversion | Rejection, Backtest]:
    """Return the conversions of an event with a mapping and a draft that adds fields, and the verdict."""
    [(before, after)], result = _judged_together([content], fields, added)
    return before, after, result


def _judged_sent(
    content: dict[str, Any], fields: dict[str, Any], added: dict[str, Any]
) -> tuple[bool, Backtest]:
    """Return whether an event that both mappings accept is sent with another body, and the verdict."""
    before, after, result = _judged(content, fields, added)
    assert isinstance(before, Conversion)
    assert isinstance(after, Conversion)
    return before.body != after.body, result


def _judged_together(
    contents: Sequence[dict[str, Any]], fields: dict[str, Any], added: dict[str, Any]
) -> tuple[list[tuple[Conversion | Rejection, Conversion | Rejection]], Backtest]:
    """Return the same of several events with one verdict."""
    now = datetime.now(UTC)
    mappings = []
    for all_fields in (fields, {**fields, **added}):
        purchase = {"event_type": "OFF_AMAZON_PURCHASES", "fields": {"event_timestamp": "time", **all_fields}}
        mappings.append(compiled({**_LEAD, **purchase}))
    outcomes, groups = [], []
    for content in contents:
        event = Event("e", "d", "m", received({"time": now.isoformat(), **content}))
        before, after = (convert(event, "e", mapping, RULES, now=now) for mapping in mappings)
        paths = [path for _, path in mappings[0].paths]
        groups.append(group_of(take_sample(event.content, paths, now=now, fingerprint=DIGEST), before))
        outcomes.append((before, after))
    return outcomes, backtest(groups, *mappings, RULES, fingerprint=DIGEST, now=now)


@pytest.mark.parametrize(
    ("fields", "added"),
    [
        ({"value": {"path": "items", "pipe": [["sum", '["$price"]']]}}, {"path": "ref"}),
        ({"value": {"path": "lines", "pipe": [["sum", '["$price"]', "pieces"]]}}, {"path": "ref"}),
        ({}, {"path": "refs[0]", "pipe": [["substring", 0, 10]]}),
    ],
)
def test_a_match_key_that_a_draft_adds_may_accept_a_rejected_event(
    fields: dict[str, Any], added: dict[str, Any]
) -> None:
    """Also where the sample has no members of a list, or not the value of the key: then it is unclear."""
    content = {
        "maid": "00000000-0000-0000-0000-000000000000",
        "items": [{"$price": 3}],
        "lines": [{"$price": 3, "pieces": 2}],
        "ref": "a1",
        "refs": ["x" * 60],
    }
    before, after, result = _judged(content, {"maid": "maid", **fields}, {"match_id": added})
    assert not isinstance(before, Conversion)
    assert isinstance(after, Conversion)
    assert result.newly_accepted + result.unclear_events == 1


_DATE = {"path": "date", "pipe": [["time", {"formats": ["DD.MM.YYYY HH:mm"], "zone": "UTC"}]]}


@pytest.mark.parametrize(
    ("date", "accepted"),
    [(f"{datetime.now(UTC):%d.%m.%Y %H:%M}", 1), ("soon", 0), (None, 0)],
    ids=["read", "unreadable", "absent"],
)
def test_what_did_not_reject_an_event_does_not_reject_it_later(date: str | None, accepted: int) -> None:
    """Its time is not stored. But it is known whether the time, or only the absent match key, rejected it."""
    content = {"maid": "00000000-0000-0000-0000-000000000000", "ref": "a1", "date": date}
    before, after, result = _judged(content, {"maid": "maid", "event_timestamp": _DATE}, {"match_id": "ref"})
    assert not isinstance(before, Conversion)
    assert isinstance(after, Conversion) is bool(accepted)
    assert (result.newly_accepted, result.unclear_events) == (accepted, 0)


@pytest.mark.parametrize(
    "date",
    ["24.11.2019 09:00", "31.02.2026 10:00", "00/00/0000 00:00", f"{datetime.now(UTC):%d.%m.%Y} 9:05"],
    ids=["old", "no day", "zeros", "an hour of one digit"],
)
@pytest.mark.parametrize("added", [{"match_id": "ref"}, {"event_timestamp": _DATE}], ids=["other", "read"])
def test_a_local_time_that_is_no_time_of_a_new_event_accepts_none(date: str, added: dict[str, Any]) -> None:
    """It is certain if the draft leaves the time as it is, and if no format has hours of one digit."""
    content = {"maid": _MAIDS[0], "ref": "a1", "date": date}
    time = {"event_timestamp": "date"} if "event_timestamp" in added else {"event_timestamp": _DATE}
    before, after, result = _judged(content, {"maid": "maid", **time}, added)
    assert isinstance(before, Rejection)
    assert isinstance(after, Rejection)
    is_clear = "match_id" in added or "9:05" in date
    assert (result.newly_accepted, result.unclear_events) == (0, 0 if is_clear else 1)


def test_a_draft_that_changes_nothing_accepts_no_event_whose_reason_is_not_recorded() -> None:
    """As releases before did, and as it is if the consent is missing."""
    content = {"date": "24.11.2026 09:00", "email": "ada@example.com"}
    mapping = compiled({**_LEAD, "fields": {"event_timestamp": _DATE, "email": "email"}})
    sample = take_sample(content, now=NOW, fingerprint=DIGEST)
    group = SampleGroup({sample: 3}, {}, version=1, accepted=False)
    result = backtest([group], mapping, mapping, RULES, fingerprint=DIGEST, now=NOW)
    assert result == Backtest(events=3)


@pytest.mark.parametrize("is_added", [True, False])
def test_an_unclear_field_is_no_sameness_of_events_that_may_be_rejected(is_added: bool) -> None:
    """The time of another day is unclear in both mappings, and so is what the changed field sends."""
    written = {**_LEAD, "fields": {"event_timestamp": "time", "email": "email"}}
    rows = {**written, "custom_data": [{"name": "note", "path": "note", "pipe": ["upper"]}]}
    published, draft = (
        (compiled(written), compiled(rows)) if is_added else (compiled(rows), compiled(written))
    )
    content = {"time": "2026-11-22T09:00:00Z", "email": "ada@example.com", "note": "gift"}
    sample = take_sample(content, now=NOW, fingerprint=DIGEST)
    result = backtest([SampleGroup({sample: 1}, {})], published, draft, RULES, fingerprint=DIGEST, now=NOW)
    assert result.unclear_events == 1


_WITH_CONSENT = {**_LEAD, "consent": {"mode": "tcf", "string": "tcf"}}


@pytest.mark.parametrize("is_reason_recorded", [True, False])
@pytest.mark.parametrize(
    ("fields", "added", "counts"),
    [
        ({"match_id": "absent"}, {"city": {"const": "Berlin"}}, (0, 1)),
        ({"match_id": "absent"}, {"maid": "nothing"}, (0, 0)),
        ({"match_id": "id"}, {"limited_data_use": "id"}, (1, 0)),
    ],
    ids=["accepted", "still-rejected", "rejected"],
)
def test_unclear_consent_hides_no_other_problem(
    fields: dict[str, Any], added: dict[str, Any], counts: tuple[int, int], is_reason_recorded: bool
) -> None:
    """A rejection for consent names nothing else. But an event that has consent may still be rejected."""
    time = {"event_timestamp": "time"}
    published = compiled({**_WITH_CONSENT, "fields": {**time, **fields}})
    draft = compiled({**_WITH_CONSENT, "fields": {**time, **fields, **added}})
    event = Event("e", "d", "m", {"time": "2026-11-24T09:00:00Z", "id": "a1", "tcf": consent_to_all()})
    before, after = (convert(event, "e", mapping, RULES, now=NOW) for mapping in (published, draft))
    sample = take_sample(event.content, [path for _, path in published.paths], now=NOW, fingerprint=DIGEST)
    group = group_of(sample, before)
    if not is_reason_recorded:
        group = replace(group, facts=())
    result = backtest([group], published, draft, RULES, fingerprint=DIGEST, now=NOW)
    assert wrong_verdict(result, before, after) is None, result
    # Without the reason, the consent may be what rejected the event.
    is_unclear = counts == (0, 1) and not is_reason_recorded
    found = (result.rejected.total(), result.newly_accepted, result.unclear_events)
    assert found == ((0, 0, 1) if is_unclear else (*counts, 0))


def test_a_draft_that_changes_nothing_rejects_no_event_whose_match_key_was_of_an_older_version() -> None:
    """The fields that the events sent are known, but none of them is a match key of the published version."""
    fields = {"event_timestamp": "time", "postal": {"path": "zip", "pipe": ["upper", "sum"]}}
    written = {**_WITH_CONSENT, "consent": {"mode": "granted"}, "fields": fields}
    published, older = compiled(written), compiled({**written, "fields": {**fields, "first_name": "name"}})
    event = Event("e", "d", "m", {"time": "2026-11-24T09:00:00Z", "zip": 2134, "name": "Ada"})
    sample = take_sample(event.content, [path for _, path in older.paths], now=NOW, fingerprint=DIGEST)
    group = group_of(sample, convert(event, "e", older, RULES, now=NOW), version=0)
    assert group.accepted
    result = backtest([group], published, published, RULES, fingerprint=DIGEST, now=NOW, older={0: older})
    assert result == Backtest(events=1)


@pytest.mark.parametrize(("lines", "unclear"), [(2, 0), (5, 0), (25, 1)])
def test_a_short_list_is_known_to_lack_later_members(lines: int, unclear: int) -> None:
    """Unless its sample says that it has more members, which may have the path."""
    content = {"maid": _MAIDS[0], "lines": [{"sku": "a", "price": 3}] * lines}
    fields = {"maid": "maid", "value": {"path": "lines", "pipe": [["sum", "price"]]}}
    _, _, result = _judged(content, fields, {"user_agent": "lines[30].note"})
    assert (result.changed, result.unclear_events) == ({}, unclear)


@pytest.mark.parametrize("path", ["lines[5].sku", "lines[6].sku", "tags[5]"])
def test_a_mapped_member_beyond_those_of_a_sample_is_known(path: str) -> None:
    content = {"maid": _MAIDS[0], "lines": [{"sku": "a"}] * 7, "tags": ["a"] * 7}
    fields = {"maid": "maid", "user_agent": path}
    _, result = _judged_sent(content, fields, {"user_agent": "nothing"})
    assert result.changed == {"user_agent": 1}


def test_an_event_name_that_becomes_the_pinned_one_accepts_events() -> None:
    """Its old name is what rejected the event; another change leaves it rejected."""
    rules = replace(RULES, pins={"LEAD": "Two"})
    event = Event("e", "d", "m", {"time": "2026-11-24T09:00:00Z", "email": "ada@example.com"})
    written = {**_LEAD, "fields": {"event_timestamp": "time", "email": "email"}}
    sample = take_sample(event.content, now=NOW, fingerprint=DIGEST)
    published = compiled(written)
    group = group_of(sample, convert(event, "e", published, rules, now=NOW))
    for change, accepted in (
        ({"event_name": "Two"}, 1),
        ({"event_type": "OTHER"}, 1),
        ({"event_source": "ANDROID"}, 0),
    ):
        draft = compiled({**written, **change})
        result = backtest([group], published, draft, rules, fingerprint=DIGEST, now=NOW)
        assert (result.newly_accepted, result.unclear_events) == (accepted, 0)


def test_what_a_draft_continues_is_decided_for_each_event() -> None:
    """An accepted event keeps its first time; a rejected one may have a second that the draft reads, too."""
    first, second = _DATE, {**_DATE, "path": "other"}
    fields = {"match_id": "ref", "event_timestamp": first}
    now = f"{datetime.now(UTC):%d.%m.%Y %H:%M}"
    contents = [{"ref": "a1", "date": now}, {"ref": "a1", "date": "soon", "other": now}]
    added = {"event_timestamp": {"first_of": [first, second]}}
    (accepted, rejected), result = _judged_together(contents, fields, added)
    assert all(isinstance(outcome, Conversion) for outcome in (*accepted, rejected[1]))
    assert not isinstance(rejected[0], Conversion)
    assert result.newly_accepted + result.unclear_events == 1


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (820982911946154503, 820982911946154599),
        ("2026-11-29", "2026-11-28"),
        ("DBAA~BAAA.YAAA", "DBABMA~BAAA.YAAA"),
        ("{{order}}", "{{id}}"),
    ],
)
def test_another_field_of_the_same_kind_is_a_change(value: Any, other: Any) -> None:
    content = {"maid": _MAIDS[0], "a": value, "b": other}
    _, result = _judged_sent(content, {"maid": "maid", "user_agent": "a"}, {"user_agent": "b"})
    assert (result.changed, result.unclear_events) == ({"user_agent": 1}, 0)


_MAIDS = ["b4a3ca9c-4125-4228-ae50-59cd6a343593", "c5a3ca9c-4125-4228-ae50-59cd6a343593"]
_FIRST, _SECOND = {"path": "first"}, {"path": "second"}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("email", ["ada@example.com", "bob@example.com"]),
        ("maid", _MAIDS),
        ("ip_address", ["8.8.8.8", "8.8.4.4"]),
        ("user_agent", ["acme", "bob"]),
    ],
)
@pytest.mark.parametrize(
    ("source", "other", "changed"),
    [
        ({"first_of": [_FIRST, _SECOND]}, _FIRST, 0),
        (_FIRST, {"first_of": [_FIRST, _SECOND]}, 0),
        ({"first_of": [_FIRST, _SECOND]}, _SECOND, 1),
        (_FIRST, _SECOND, 1),
        ({"first_of": [_FIRST, _SECOND]}, {"first_of": [_SECOND, _FIRST]}, 1),
    ],
    ids=["shorter", "longer", "second", "another", "reordered"],
)
def test_a_value_that_both_mappings_read_is_no_change(
    field: str, values: list[str], source: dict[str, Any], other: dict[str, Any], changed: int
) -> None:
    """Also of an event of which another field is unclear, but the same for both."""
    content = {"first": values[0], "second": values[1], "name": "李", "id": "customer7"}
    fields = {"match_id": "id", "first_name": "name", field: source}
    differs, result = _judged_sent(content, fields, {field: other})
    assert differs is bool(changed)
    assert (result.changed.total(), result.unclear_events) == (changed, 0)


@pytest.mark.parametrize(("currency", "changed"), [(1001, 1), (None, 0), ("USD", 0), ("EUR", 1)])
def test_a_purchase_without_a_currency_has_that_of_the_destination(currency: Any, changed: int) -> None:
    """One that is left out has none. It is known also of an event of which another field is unclear."""
    content = {"currency": currency, "name": "李", "id": "customer7"}
    source = {"currency": {"path": "currency", "on_error": "omit"}}
    fields = {"match_id": "id", "first_name": "name"}
    differs, result = _judged_sent(content, {**fields, **source}, {"currency": "nothing"})
    assert differs is bool(changed)
    assert (result.changed.total(), result.unclear_events) == (changed, 0)
    _, _, result = _judged(content, fields, source)
    assert (result.changed.total(), result.unclear_events) == (changed, 0)


def test_an_added_value_of_zero_is_a_change() -> None:
    """Also of an event of which another field is unclear."""
    content = {"number": 0, "name": "李", "id": "customer7"}
    fields = {"match_id": "id", "first_name": "name"}
    _, result = _judged_sent(content, fields, {"value": "number"})
    assert (result.changed, result.unclear_events) == ({"value": 1}, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "ada@example.com"),
        ("user_agent", "acme"),
        ("maid", _MAIDS[0]),
        ("match_id", "customer8"),
        ("ip_address", "8.8.8.8"),
    ],
)
@pytest.mark.parametrize(
    "sources",
    [[_FIRST, {"path": "third"}], [{"path": "third"}, _FIRST], [_SECOND, _FIRST]],
    ids=["other-second", "absent-first", "reordered"],
)
def test_values_are_compared_and_not_paths(field: str, value: str, sources: list[dict[str, Any]]) -> None:
    """Another path that an event does not have, or that is not tried, changes nothing.

    Nor does the order of two paths of which an event has one. A preview hides some of the values.
    """
    content = {"first": value, "name": "李", "id": "customer7", "mail": "ada@example.com"}
    fields = {"email": "mail", "match_id": "id", "first_name": "name", field: {"first_of": [_FIRST, _SECOND]}}
    differs, result = _judged_sent(content, fields, {field: {"first_of": sources}})
    assert not differs
    assert (result.changed.total(), result.unclear_events) == (0, 0)


_LINES = [{"$price": 3, "@type": "a", "pieces": 2}, {"@type": "b", "pieces": 1}]
_PIECES = {"path": "lines", "pipe": [["sum", "pieces"]], "on_error": "reject"}
_PRICES = {"path": 'lines[*]["$price"]', "pipe": ["sum"]}
_SUM = {"path": "lines", "pipe": [["sum", '["$price"]']]}
_TOTAL = {"path": "total", "on_error": "reject"}


@pytest.mark.parametrize(
    ("content", "fields", "added", "unclear"),
    [
        # The other sum on the same list, or on an object that counts as one, is certain.
        ({"lines": _LINES}, {"units_sold": _PIECES}, {"value": _PRICES}, {"value"}),
        (
            {"lines": _LINES},
            {"units_sold": _PIECES},
            {"value": {"path": "lines", "pipe": [["sum", '["$price"]', "pieces", {"missing": "skip"}]]}},
            {"value"},
        ),
        ({"lines": _LINES[0]}, {"units_sold": _PIECES}, {"value": _PRICES}, {"value"}),
        (
            {"orders": [{"lines": _LINES}]},
            {"units_sold": {"path": "orders[*].lines[*].pieces", "pipe": ["sum"]}},
            {"value": {"path": 'orders[*].lines[*]["$price"]', "pipe": ["sum"]}},
            {"value"},
        ),
        # The other steps that read members, and a list of which the sample has nothing.
        (
            {"lines": _LINES},
            {},
            {"units_sold": {**_PIECES, "pipe": [["where", '["@type"]', "is", "a"], "count"]}},
            {"units_sold"},
        ),
        (
            {"lines": _LINES},
            {},
            {"match_id": {"path": "lines", "pipe": [["pluck", '["@type"]'], "first"]}},
            {"match_id"},
        ),
        (
            {"lines": [{"$price": "x"}]},
            {},
            {"value": {**_PIECES, "pipe": [["sum", '["$price"]']]}},
            {"value"},
        ),
        # Members at places that no sample has.
        ({"lines": _LINES}, {"units_sold": _PIECES}, {"match_id": 'lines[-1]["@x"]'}, {"units_sold"}),
        ({"lines": _LINES}, {"units_sold": _PIECES}, {"match_id": 'lines[2]["@x"]'}, {"units_sold"}),
        ({"lines": _LINES * 3}, {"units_sold": _PIECES}, {"match_id": "lines[7].sku"}, {"match_id"}),
        ({"lines": _LINES}, {"units_sold": _PIECES}, {"match_id": "lines[7].sku"}, set()),
        (
            {"lines": _LINES * 3},
            {"units_sold": "lines[0].pieces"},
            {
                "value": {"path": "lines[*].pieces", "pipe": ["sum"]},
                "units_sold": {"path": "lines[0].pieces", "on_error": "reject"},
            },
            {"value"},
        ),
        # Nothing is below a list that is absent, or a text, number or null, or behind a name in a list.
        ({"lines": _LINES}, {"units_sold": _PIECES}, {"match_id": 'lines.sku[*]["$x"]'}, set()),
        ({}, {"value": _SUM}, {"value": {**_SUM, "on_error": "omit"}}, set()),
        ({"lines": []}, {"units_sold": _PIECES}, {"value": _PRICES}, set()),
        ({"total": 5}, {"value": _TOTAL}, {"match_id": 'total["$oid"]'}, set()),
        ({"total": None}, {"value": _TOTAL}, {"match_id": 'total["$oid"]'}, set()),
    ],
)
def test_names_that_no_sample_has_leave_only_their_own_readers_unclear(
    content: dict[str, Any], fields: dict[str, Any], added: dict[str, Any], unclear: set[str]
) -> None:
    before, after, result = _judged(
        {"email": "ada@example.com", **content}, {"email": "email", **fields}, added
    )
    assert wrong_verdict(result, before, after) is None, result
    assert isinstance(before, Conversion)
    assert {group.mapping_field for group in result.unclear} == unclear
