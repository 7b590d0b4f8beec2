"""What is wrong with a mapping, in the words of its form."""

import pytest

from app.console.mappings.problem_view import label, problem_views
from app.domain.mapping.document import check_draft, check_publishable
from tests.api.world import MAPPING


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
    assert label(place) == name


def test_problems_of_an_empty_mapping_use_labels() -> None:
    """Each line leads to its place on the form."""
    lacking = problem_views((one.path, one.sentence) for one in check_publishable({"fields": {}}))
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
    (one,) = problem_views((each.path, each.sentence) for each in wrong)
    assert one.label == "Custom Data Fields, row 1"
    assert one.sentence == "A custom name has 1 to 256 letters, digits and underscores."
