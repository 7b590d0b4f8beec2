"""The API's view of a found event has the members of the value that it shows."""

from dataclasses import fields

from app.admin.event_search import FoundEvent
from app.api.event_models import FoundEventView


def test_a_view_has_the_members_of_its_value() -> None:
    """A member of a value that a view leaves out would be missing from the API unnoticed."""
    assert {field.name for field in fields(FoundEvent)} == set(FoundEventView.model_fields)
