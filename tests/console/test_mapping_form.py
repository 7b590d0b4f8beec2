"""A mapping document survives the form: what is shown and sent back is what it was."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.mapping_form import canonical, from_form, keep_short_forms, to_form
from app.console.mapping_text import read_pipe, read_value, write_pipe, write_value
from app.domain.mapping.document import check_draft, check_publishable
from tests.api.world import MAPPING

scalars = st.one_of(st.text(max_size=20), st.integers(-(10**9), 10**9), st.booleans())
words = st.from_regex(r"[a-z_0-9]{1,12}", fullmatch=True)
pipes = st.lists(
    st.one_of(
        words, st.builds(lambda name, rest: [name, *rest], words, st.lists(scalars, min_size=1, max_size=3))
    ),
    min_size=1,
    max_size=5,
)


@given(pipes)
def test_a_pipe_is_read_back_as_it_was_written(pipe: list[Any]) -> None:
    """Whatever stands in its arguments, bars and quotes too."""
    assert read_pipe(write_pipe(pipe)) == pipe


@given(st.one_of(scalars, st.decimals(allow_nan=False, allow_infinity=False, places=2)))
def test_a_value_is_read_back_as_it_was_written(value: Any) -> None:
    """5 stays a number, "5" a text."""
    written = write_value(value)
    if value == "":
        return  # nothing typed is no value
    read = read_value(written)
    assert read == value
    assert isinstance(read, bool) == isinstance(value, bool)
    assert isinstance(read, str) == isinstance(value, str)


@pytest.mark.parametrize("typed", ["", "|", "trim |", "trim lower", "replace 'a'", "trim || lower"])
def test_what_is_no_pipe_is_not_guessed_at(typed: str) -> None:
    """It is refused where it stands."""
    assert read_pipe(typed) is None


def sent(document: dict[str, Any]) -> dict[str, str]:
    """Return what a browser sends of the form that shows a document."""
    form = to_form(document)
    given: dict[str, str] = {
        "name": form.name,
        "event_type": form.event_type,
        "event_source": form.event_source,
        "event_name": form.event_name,
        "consent": form.consent,
    }
    sources = [form.event_type_source, form.event_source_source, form.country, *form.consent_sources.values()]
    sources += [row.inputs for group in form.groups.values() for row in group]
    for one in sources:
        given |= {
            f"{one.name}.path": one.path,
            f"{one.name}.pipe": one.pipe,
            f"{one.name}.default": one.default,
        }
    for row in form.custom:
        given[f"custom.{row.number}.name"] = row.name
        for part in ("path", "pipe", "default"):
            given[f"custom.{row.number}.{part}"] = getattr(row.inputs, part)
    return given


RICH: dict[str, Any] = {
    **MAPPING,
    "event_type": {"path": "event.kind", "pipe": ["upper", ["replace", " ", "_"]], "default": "OTHER"},
    "country_code": "DE",
    "fields": {
        "event_timestamp": {"path": "event.at", "pipe": ["epoch_ms"]},
        "email": "user.email",
        "postal": {"const": "01234"},
        "value": {"path": "event.total", "default": Decimal("12.50")},
        "units_sold": {"const": 1},
        "limited_data_use": {"const": True},
        "phone": {"first_of": [{"path": "user.phone"}, "user.mobile"], "on_error": "reject"},
        "event_id": {"template": "{order.id}-{{x}}", "default": "none"},
        "user_agent": {"path": "agent", "on_error": "omit"},
    },
    "custom_data": [
        "event.brand",
        {"name": "tier", "const": "5"},
        {"name": "level", "const": 5},
        {
            "name": "kind",
            "first_of": ["a", {"const": Decimal("1.5")}],
            "pipe": [["multiply", Decimal("0.01")]],
        },
    ],
    "consent": {"mode": "amazon", "user_data": "consent.user_data"},
}


@pytest.mark.parametrize("document", [MAPPING, RICH], ids=["usual", "rich"])
def test_a_form_that_nobody_touched_says_the_same(document: dict[str, Any]) -> None:
    """And saving it changes not even the short forms."""
    assert check_draft(document) == []
    made = from_form(sent(document))
    assert canonical(made) == canonical({"action": "send_events", **document})
    assert keep_short_forms(document, made) == {"action": "send_events", **document}
    assert check_publishable(made) == []


def test_a_problem_stands_at_its_field() -> None:
    """Of a path, a pipe, a custom name and a constant."""
    document = {
        "name": "x",
        "fields": {"email": {"path": "a..b"}, "phone": {"path": "a", "pipe": ["nonsense"]}},
        "custom_data": [{"name": "no good", "path": "a"}],
        "event_name": "a@b",
    }
    form = to_form(document, check_draft(document))
    at = {row.inputs.name: row.inputs.problem for row in form.groups["match_key"]}
    assert at["fields.email"]
    assert at["fields.phone"]
    assert form.custom[0].problem
    assert form.problems["event_name"]


def test_an_empty_form_is_an_empty_draft() -> None:
    """Blank fields are left out, not kept as blanks."""
    assert from_form({"name": " ", "fields.email.path": "", "custom.0.name": ""}) == {
        "name": "",
        "action": "send_events",
    }


def test_a_field_of_purchases_is_hidden_for_other_events() -> None:
    """The row says so, so that a new field needs no change of the template."""
    rows = to_form({"name": "x"}).groups["purchase"]
    assert {row.inputs.name: row.purchases_only for row in rows} == {
        "fields.value": False,
        "fields.currency": True,
        "fields.units_sold": True,
    }
