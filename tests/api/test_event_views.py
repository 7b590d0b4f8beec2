"""The API's views of events have the members of the values that they show."""

from dataclasses import fields

import pytest

from app.admin.event_list import ListedEvent
from app.admin.event_records import EventAttempt, EventHistory
from app.admin.event_search import FoundEvent
from app.admin.notification_channels import ChannelStatus
from app.api.event_models import AttemptView, EventHistoryView, FoundEventView, ListedEventView
from app.api.incidents import ChannelView
from app.api.response_body import ResponseBody


@pytest.mark.parametrize(
    ("value", "view"),
    [
        (ListedEvent, ListedEventView),
        (EventHistory, EventHistoryView),
        (EventAttempt, AttemptView),
        (FoundEvent, FoundEventView),
        (ChannelStatus, ChannelView),
    ],
)
def test_a_view_has_the_members_of_its_value(value: type, view: type[ResponseBody]) -> None:
    """A member of a value that a view leaves out would be missing from the API unnoticed."""
    assert {field.name for field in fields(value)} == set(view.model_fields)
