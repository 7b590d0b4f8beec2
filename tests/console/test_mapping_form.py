"""A mapping document survives the form: what is shown and sent back is what it was."""

import json
import random
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.mappings.form import canonical, from_form, keep_short_forms, to_form
from app.console.mappings.inputs import read_pipe, read_value, transforms, write_pipe, write_value
from app.domain.mapping.document import check_draft, check_publishable
from app.domain.mapping.pipes import PIPES
from tests.api.world import MAPPING
from tests.domain.random_pairs import random_document

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
        **form.choices,
        "event_name": form.event_name,
        "consent": form.consent,
    }
    sources = [*form.sources.values()]
    sources += [row.inputs for group in form.groups.values() for row in group]
    sources += [row.inputs for row in form.custom]
    for one in sources:
        given |= one.values
    for number, row in enumerate(form.custom):
        given[f"custom.{number}.name"] = row.name
    # The inputs of `others` are text areas, all others have one line.
    return {
        name: text if name.endswith(".others") else text.replace("\r", "").replace("\n", "")
        for name, text in given.items()
    }


SOURCES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "a sum over a list": (
        {"value": {"path": "items", "pipe": [["sum", "price", "quantity"], ["round", 2]]}},
        {"path": "items", "sum": "price, quantity", "pipe": "round 2"},
    ),
    "a sum of amounts with a decimal comma": (
        {"value": {"path": "items", "pipe": [["sum", "price", {"decimal": ","}]]}},
        {"sum": "price", "decimal": ","},
    ),
    "a number form": (
        {"value": {"path": "total", "pipe": [["to_number", ","]], "on_error": "omit"}},
        {"decimal": ",", "on_error": "omit", "pipe": ""},
    ),
    "formats of a time": (
        {
            "event_timestamp": {
                "path": "at",
                "pipe": [["time", {"formats": ["D.M.YYYY H:mm", "iso"], "zone": "Europe/Berlin"}]],
            }
        },
        {"formats": "D.M.YYYY H:mm | iso", "zone": "Europe/Berlin"},
    ),
    "several sources": (
        {
            "email": {
                "first_of": [
                    {"path": "a"},
                    {"path": "b", "pipe": ["trim", ["replace", "|", ""]]},
                    {"template": "{x | lower}@{y}"},
                    {"const": "none"},
                ],
                "default": "-",
            }
        },
        {
            "path": "a",
            "others": 'b | trim | replace "|" ""\n{x | lower}@{y}\n{"const":"none"}',
            "default": "-",
        },
    ),
    "a text with placeholders": (
        {"event_id": {"template": "{order.id}-{{1}}", "pipe": ["lower"]}},
        {"path": "{order.id}-{{1}}", "pipe": "lower"},
    ),
    "a path with braces": ({"email": {"path": 'traits["{x}"]'}}, {"path": 'traits["{x}"]'}),
    "JSON for the rest": (
        {"email": {"first_of": [{"path": "a"}, {"path": "b"}], "pipe": ["trim"]}},
        {"path": '{"first_of":[{"path":"a"},{"path":"b"}],"pipe":["trim"]}', "others": ""},
    ),
    "JSON where a row has no such input": (
        {"limited_data_use": {"path": "x", "on_error": "omit"}},
        {"path": '{"path":"x","on_error":"omit"}'},
    ),
    "a step with an option that has no input": (
        {"value": {"path": "items", "pipe": [["sum", "price", {"missing": "skip"}]]}},
        {"sum": "", "pipe": 'sum "price" {"missing":"skip"}'},
    ),
}


@pytest.mark.parametrize(("fields", "inputs"), SOURCES.values(), ids=SOURCES)
def test_each_kind_of_source_has_its_inputs(fields: dict[str, Any], inputs: dict[str, str]) -> None:
    """And is read back from them as it was."""
    form = to_form({"name": "x", "fields": fields})
    rows = {row.inputs.name: row.inputs for group in form.groups.values() for row in group}
    ((name, _),) = fields.items()
    assert {part: getattr(rows[f"fields.{name}"], part) for part in inputs} == inputs
    assert from_form(sent({"name": "x", "fields": fields}))["fields"] == fields


def test_random_mappings_lose_nothing_in_the_form() -> None:
    """Whatever the language can say, with the rows that have no input for it."""
    rng = random.Random(25)
    for _ in range(400):
        document = random_document(rng)
        exact = json.loads(
            msgspec.json.Encoder(decimal_format="number").encode(document), parse_float=Decimal
        )
        filled = {name: value for name, value in exact.items() if value != []}
        assert canonical(from_form(sent(exact))) == canonical({"name": "", "action": "send_events", **filled})


def test_every_function_has_an_example_that_it_accepts() -> None:
    """The form shows what each function makes of a value."""
    examples = transforms()
    assert {one.text.split(" ")[0] for one in examples} == set(PIPES)
    assert [one.text for one in examples if '"reason"' in one.result] == []
    by_text = {one.text: (one.value, one.result) for one in examples}
    assert by_text['sum "price" "quantity" {"decimal":","}'] == ('[{"price":"1,50","quantity":2}]', "3.00")
    assert by_text["trim"] == ('" Ada "', '"Ada"')


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


@pytest.mark.parametrize(
    "source",
    [
        {"template": "{order.id}\n{order.line}"},
        {"path": "order.note", "default": "none\r\n"},
        {"path": "order.note", "default": "first\nsecond"},
        {"first_of": [{"path": "a"}, {"template": "{b}\n{c}"}]},
    ],
)
def test_a_text_with_a_line_end_keeps_it(source: dict[str, Any]) -> None:
    """A browser drops line ends from the text of an input of one line."""
    document = {**MAPPING, "fields": {**MAPPING["fields"], "event_id": source}}
    assert check_draft(document) == []
    assert from_form(sent(document))["fields"]["event_id"] == source


def test_a_constant_true_can_be_changed_to_1() -> None:
    """Although Python calls them equal: the short form of the earlier one is not kept."""
    before, after = ({**MAPPING, "fields": {**MAPPING["fields"], "brand": {"const": c}}} for c in (True, 1))
    assert keep_short_forms(before, after)["fields"]["brand"] == {"const": 1}
    assert keep_short_forms(before, after)["fields"]["brand"]["const"] is not True


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
