"""An id of an event's metadata is a member of each type that filters, lists, exports or stores events."""

from dataclasses import fields

import msgspec
import pytest

from app.admin.events.summary import EventHistory, EventSummary
from app.api.events.filters import JOURNEY_LABELS, MixedFilter, RecordFilter, SearchFilter
from app.api.replays import ReplayRequest
from app.domain.batch import EventMetadata
from app.domain.event import JOURNEY_IDS, JourneyIds, journey_ids
from app.domain.event_query import EventQuery
from app.store.events.rejections import RejectionRecord
from app.store.replays import ReplayProgress

MODELS = (MixedFilter, SearchFilter, RecordFilter, ReplayRequest)


@pytest.mark.parametrize("name", JOURNEY_IDS)
def test_an_id_of_the_journey_is_in_every_type(name: str) -> None:
    for type_ in (EventQuery, EventSummary, EventHistory, RejectionRecord, ReplayProgress):
        assert name in {each.name for each in fields(type_)}, type_
    for model in MODELS:
        assert name in model.model_fields, model
    assert name in EventMetadata.__struct_fields__


def test_every_id_is_read_from_the_event_and_has_a_label() -> None:
    journey = {name.removeprefix("journey_"): f"a-{name}" for name in JOURNEY_IDS}
    assert journey_ids({"journey": journey}) == JourneyIds(**{name: f"a-{name}" for name in JOURNEY_IDS})
    assert set(JOURNEY_LABELS) == set(JOURNEY_IDS)
    assert all(label != name for name, label in JOURNEY_LABELS.items())


@pytest.mark.parametrize("name", JOURNEY_IDS)
def test_an_id_that_is_no_text_is_left_out(name: str) -> None:
    """The others stay."""
    journey: dict[str, object] = {each.removeprefix("journey_"): "a" for each in JOURNEY_IDS}
    journey[name.removeprefix("journey_")] = ["a"]
    assert journey_ids({"journey": journey}) == JourneyIds(
        **{each: None if each == name else "a" for each in JOURNEY_IDS}
    )


@pytest.mark.parametrize("name", JOURNEY_IDS)
def test_a_filter_compares_the_id_with_the_metadata(name: str) -> None:
    shape = EventMetadata(0, "ord-1", 1, 1, "LEAD", 0, (), ())
    with_id = msgspec.structs.replace(shape, **{name: "id-1"})
    for query in (EventQuery(**{name: "id-1"}), EventQuery(any_id="id-1")):  # type: ignore[arg-type]
        assert query.matches(with_id)
        assert not query.matches(shape)


def test_a_parameter_of_a_list_is_a_member_of_the_filter() -> None:
    """A parameter that no use case reads would be ignored without a message."""
    names = {each.name for each in fields(EventQuery)}
    own = {"q", "destination_id", "dry_run", "include_dismissed"}
    for model in (MixedFilter, SearchFilter, RecordFilter, ReplayRequest):
        assert set(model.model_fields) - own <= names, model
