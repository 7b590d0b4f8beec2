"""Sources, clause by clause (interface §4.1, §4.3, §4.4)."""

import re
from decimal import Decimal
from typing import Any

import pytest

from app.domain.conversion.failures import UNCLEAR, Invented, SourceFailed
from app.domain.mapping.document import check_draft, compile_mapping, holds_literal_time
from app.domain.mapping.reading import Reading
from tests.domain.conversions import document
from tests.domain.readings import compiled, piped, read, read_with_notes, refused

ORDER = {
    "id": 7,
    "total": Decimal("1E+3"),
    "country": " DE ",
    "blank": " ",
    "null": None,
    "paid": True,
    "lines": [{"sku": "a", "price": 2}, {"sku": "b", "price": "x"}],
    "date": "2026-11-28",
    'a|b}"': 1,
    "a|{b}": "odd",
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        pytest.param("{id}", "7", id="a number as to_string writes it"),
        pytest.param("{total}", "1000", id="without an exponent"),
        pytest.param("{country}", " DE ", id="a text as it is"),
        pytest.param("order-{id}-{country | trim|lower}", "order-7-de", id="texts, placeholders and steps"),
        pytest.param("{ id }", "7", id="spaces in a placeholder"),
        pytest.param("{{{id}}}", "{7}", id="braces"),
        pytest.param("}}{{{id}", "}{7", id="braces alone"),
        pytest.param("{date}T00:00:00Z", "2026-11-28T00:00:00Z", id="a date and the rest of a time"),
        pytest.param("{lines[*].sku | join}", "a b", id="one value of a list"),
        pytest.param("{lines[*].sku|unique|last}", "b", id="a list step before it"),
        pytest.param("{lines[-1].sku}", "b", id="the last member"),
        pytest.param('{["a|{b}"]}', "odd", id="a quoted name"),
        pytest.param("{id}{absent}", None, id="a placeholder that is absent"),
        pytest.param("{id}{null}", None, id="null"),
        pytest.param("{id}{blank}", None, id="or blank"),
        pytest.param("{id}{blank | trim}", None, id="or blank after its steps"),
        pytest.param("{id}{paid}", "wrong_type", id="a boolean"),
        pytest.param("{id}{lines}", "wrong_type", id="a list"),
        pytest.param("{id}{lines[0]}", "wrong_type", id="an object"),
        pytest.param("{country | to_number}", "transform_failed", id="a failing step"),
        pytest.param("{id.x}", "wrong_type", id="a path that cannot be read"),
        pytest.param("{paid | to_string}", "true", id="a boolean as text"),
    ],
)
def test_templates(template: str, value: Any) -> None:
    assert read({"template": template}, ORDER) == value


@pytest.mark.parametrize(
    "template",
    [
        "",
        "no placeholder",
        "{{id}}",
        "{",
        "}",
        "{id",
        "id}",
        "{}",
        "{ }",
        "{id}}",
        "{{id}",
        "{id | }",
        "{id || lower}",
        "{id | nothing}",
        "{id | split}",
        '{id | ["round", 2]}',
        "{id | trim | trim | trim | trim | trim}",
        "{a b}",
        "{lines[*].sku}",
        "{lines[*].sku | unique}",
        "{lines[*].sku | lower | join}",
        "{a}" * 9,
        "{a}" + "x" * 510,
        7,
        None,
        ["{a}"],
    ],
)
def test_templates_that_are_refused(template: Any) -> None:
    assert refused({"template": template}) == [("x.template", "template_invalid")]


def test_a_template_takes_a_pipe_and_a_default() -> None:
    assert read({"template": "{id}-A", "pipe": ["lower"], "default": "none"}, ORDER) == "7-a"
    assert read({"template": "{absent}", "pipe": ["lower"], "default": "none"}, ORDER) == "none"


def test_the_result_of_a_template_has_a_limit() -> None:
    content = {"a": "x" * 8_000}
    assert read({"template": "{a}"}, content) == content["a"]
    assert read({"template": "{a}{a}"}, content) == "value_too_long"


def digits(value: Any) -> Any:
    """Check a value that must consist of digits."""
    return value if re.fullmatch("[0-9]+", value) else SourceFailed("value_invalid", "has no digits")


FIRST = {"first_of": [{"path": "a", "pipe": ["trim"]}, {"path": "b"}, {"template": "{c}{d}"}]}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        pytest.param({"a": " 1 ", "b": "2"}, "1", id="the first that passes"),
        pytest.param({"a": "x", "b": "2"}, "2", id="one that does not pass is left out"),
        pytest.param({"a": " ", "b": None, "c": 3, "d": 4}, "34", id="so is one that is blank"),
        pytest.param({"a": 1, "b": "2"}, "2", id="and one that cannot be read"),
        pytest.param({"a": "x", "b": ""}, "value_invalid", id="none passes and one is invalid"),
        pytest.param({"a": 1}, "wrong_type", id="none passes and one is unreadable"),
        pytest.param({}, None, id="all are absent"),
        pytest.param({"a": "", "b": None}, None, id="or blank"),
    ],
)
def test_first_of(content: Any, value: Any) -> None:
    assert read(FIRST, content, check=digits) == value


def test_the_default_of_first_of_is_for_absent_values_only() -> None:
    source = {**FIRST, "default": "9"}
    assert read(source, {"a": " "}, check=digits) == "9"
    assert read(source, {"a": "x"}, check=digits) == "value_invalid"


def test_each_member_passes_its_own_pipe_and_then_the_outer_one() -> None:
    source = {
        "first_of": [{"path": "a", "pipe": [["replace", "-", ""]]}, {"path": "b"}, {"const": "0 "}],
        "pipe": ["trim", ["map", {"7": "eight", "bad": "x", "none": None}]],
    }
    assert read(source, {"a": "7-"}) == "eight"
    assert read(source, {"a": "none", "b": "1"}) == "1"
    assert read(source, {"a": "bad", "b": " 2 "}, check=digits) == "2"
    assert read(source, {}, check=digits) == "0"


def test_members_before_the_first_that_passes_leave_no_warning() -> None:
    def lines(name: str) -> dict[str, Any]:
        return {"path": name, "pipe": [["sum", "price", "quantity"]]}

    source = {"first_of": [{**lines("a"), "pipe": [*lines("a")["pipe"], "lower"]}, lines("b")]}
    incomplete = [{"price": 1}]
    assert read_with_notes(source, {"a": incomplete, "b": [{"price": 1, "quantity": 2}]}) == (2, [])
    assert read_with_notes(source, {"a": incomplete, "b": incomplete}) == (1, ["item_incomplete"])
    assert read_with_notes(source, {"a": incomplete}) == ("wrong_type", [])


@pytest.mark.parametrize(
    ("source", "problems"),
    [
        pytest.param({"first_of": ["a"]}, [("x.first_of", "invalid")], id="one member"),
        pytest.param({"first_of": ["a"] * 9}, [("x.first_of", "invalid")], id="nine members"),
        pytest.param({"first_of": "a"}, [("x.first_of", "invalid")], id="no list"),
        pytest.param(
            {"first_of": [{"path": "a", "default": 1}, "b"]},
            [("x.first_of[0]", "not_allowed")],
            id="a default",
        ),
        pytest.param(
            {"first_of": ["a", {"path": "a", "on_error": "omit"}]},
            [("x.first_of[1]", "not_allowed")],
            id="on_error",
        ),
        pytest.param(
            {"first_of": [{"first_of": ["a", "b"]}, "b"]}, [("x.first_of[0]", "not_allowed")], id="first_of"
        ),
        pytest.param(
            {"first_of": [{"path": "a..b"}, {"template": "{"}, {"path": "a", "pipe": ["no"]}, 5, {}]},
            [
                ("x.first_of[0].path", "path_invalid"),
                ("x.first_of[1].template", "template_invalid"),
                ("x.first_of[2].pipe[0]", "pipe_invalid"),
                ("x.first_of[3]", "wrong_type"),
                ("x.first_of[4]", "required"),
            ],
            id="all problems at once",
        ),
        pytest.param({"path": "a", "template": "{a}"}, [("x", "required")], id="two kinds"),
        pytest.param({"pipe": []}, [("x", "required")], id="no kind"),
        pytest.param({"path": "a", "on_error": "skip"}, [("x.on_error", "invalid")], id="another on_error"),
        pytest.param(
            {"const": 1, "on_error": "omit"}, [("x", "const_stands_alone")], id="const with on_error"
        ),
        pytest.param({"path": "a", "pipe": None}, [("x.pipe", "wrong_type")], id="null as a pipe"),
        pytest.param({"path": "a", "pipe": ["trim"] * 17}, [("x.pipe", "wrong_type")], id="17 steps"),
        pytest.param(
            {"path": "a", "pipe": [["time", {"formats": ["DD/MM/YYYY HH", "MM/DD/YYYY HH"], "zone": "UTC"}]]},
            [("x.pipe[0]", "ambiguous_formats")],
            id="ambiguous formats",
        ),
    ],
)
def test_sources_that_are_refused(source: Any, problems: list[tuple[str, str]]) -> None:
    assert refused(source) == problems


def test_on_error() -> None:
    for choice in ("omit", "reject"):
        assert compiled({"path": "a", "on_error": choice}).on_error == choice
        assert compiled({"first_of": ["a", "b"], "on_error": choice}).on_error == choice
    assert compiled("a").on_error is None
    assert refused({"path": "a", "on_error": "omit"}, on_error=False) == [("x.on_error", "not_allowed")]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (
            {"fields": {"event_timestamp": {"path": "t", "on_error": "omit"}}},
            "fields.event_timestamp.on_error",
        ),
        (
            {"fields": {"limited_data_use": {"path": "t", "on_error": "reject"}}},
            "fields.limited_data_use.on_error",
        ),
        ({"country_code": {"path": "t", "on_error": "omit"}}, "country_code.on_error"),
        ({"event_type": {"path": "t", "on_error": "omit"}}, "event_type.on_error"),
        ({"event_source": {"path": "t", "on_error": "omit"}}, "event_source.on_error"),
        (
            {"consent": {"mode": "amazon", "user_data": {"path": "t", "on_error": "omit"}}},
            "consent.user_data.on_error",
        ),
        ({"fields": {"value": {"path": "t", "on_error": "omit"}}}, None),
        ({"fields": {"email": {"path": "t", "on_error": "reject"}}}, None),
        ({"fields": {"user_agent": {"path": "t", "on_error": "reject"}}}, None),
        ({"custom_data": [{"name": "a", "path": "t", "on_error": "reject"}]}, None),
    ],
)
def test_fields_that_always_reject_take_no_on_error(change: dict[str, Any], place: str | None) -> None:
    problems = [(problem.path, problem.problem) for problem in check_draft({**document(), **change})]
    assert problems == ([] if place is None else [(place, "not_allowed")])


TIME = "2026-11-28T14:15:19Z"


@pytest.mark.parametrize(
    ("source", "place"),
    [
        pytest.param({"const": TIME}, "", id="a constant"),
        pytest.param({"const": "today"}, "", id="a constant that is no time"),
        pytest.param({"path": "t", "default": TIME}, ".default", id="a default"),
        pytest.param({"path": "t", "pipe": [["map", {"a": TIME}]]}, ".pipe[0]", id="a target of map"),
        pytest.param(
            {"path": "t", "pipe": [["map", {"*": 1767225600}]]}, ".pipe[0]", id="a number as target"
        ),
        pytest.param({"path": "t", "pipe": ["trim", ["replace", "a", TIME]]}, ".pipe[1]", id="replace"),
        pytest.param(
            {
                "path": "t",
                "pipe": [
                    ["map", {"*": "28.11.2026 14:15"}],
                    ["time", {"formats": ["DD.MM.YYYY HH:mm"], "zone": "UTC"}],
                ],
            },
            ".pipe[0]",
            id="what the source's own time step reads",
        ),
        pytest.param({"path": "t", "pipe": [["map", {"*": 5}], "epoch_s"]}, ".pipe[0]", id="or its epoch_s"),
        pytest.param({"first_of": ["t", {"const": TIME}]}, ".first_of[1]", id="a constant as member"),
        pytest.param({"first_of": ["t", "u"], "default": TIME}, ".default", id="the default of first_of"),
        pytest.param(
            {"first_of": ["t", {"path": "u", "pipe": [["map", {"*": TIME}]]}]},
            ".first_of[1].pipe[0]",
            id="deep",
        ),
        pytest.param(
            {"first_of": ["t", "u"], "pipe": [["map", {"*": TIME}]]}, ".pipe[0]", id="the outer pipe"
        ),
        pytest.param(
            {
                "first_of": ["t", {"path": "u", "pipe": [["map", {"*": "28.11.2026 14:15"}]]}],
                "pipe": [["time", {"formats": ["DD.MM.YYYY HH:mm"], "zone": "UTC"}]],
            },
            ".first_of[1].pipe[0]",
            id="what the outer time step reads",
        ),
        pytest.param({"template": "{d}T12:00:00Z"}, ".template", id="a template with a clock"),
        pytest.param({"template": "2026-{d}"}, ".template", id="or a year"),
        pytest.param({"template": "{d} {t}+02:00"}, None, id="a zone at the end"),
        pytest.param({"template": "{d}T{t}-0530"}, None, id="without a colon"),
        pytest.param({"template": "{d}T{t}+05"}, None, id="hours alone"),
        pytest.param({"template": "{d}T{t}Z"}, None, id="Z"),
        pytest.param({"template": "+02:00{d}"}, ".template", id="a zone elsewhere"),
        pytest.param({"path": "t", "pipe": [["map", {"a": "b", "*": None}]]}, None, id="other targets"),
        pytest.param({"path": "t", "pipe": [["replace", " ", "T"]]}, None, id="a sign"),
        pytest.param("t", None, id="a path"),
    ],
)
def test_literal_times_are_refused_at_any_depth(source: Any, place: str | None) -> None:
    """A version that was published earlier still compiles, and is named by preflight."""
    made = document(event_timestamp=source)
    expected = [] if place is None else [(f"fields.event_timestamp{place}", "not_allowed")]
    assert [(problem.path, problem.problem) for problem in check_draft(made)] == expected
    assert isinstance(compile_mapping(made), list) is (place is not None)
    assert not isinstance(compile_mapping(made, is_published=True), list)
    assert holds_literal_time(made) is (place is not None)


@pytest.mark.parametrize(
    ("row", "clear"),
    [
        pytest.param({"path": "user.email", "pipe": ["sha256_lower"]}, False, id="a path that is hashed"),
        pytest.param({"template": "{user.email}"}, True, id="a template"),
        pytest.param({"template": "x{user.email | sha256_lower}"}, False, id="a placeholder that is hashed"),
        pytest.param(
            {"template": "{user.email}", "pipe": ["sha256_lower"]}, False, id="a template that is hashed"
        ),
        pytest.param({"first_of": ["a", "user.email"]}, True, id="a member"),
        pytest.param({"first_of": ["a", "user.email"], "pipe": ["sha256_lower"]}, False, id="all are hashed"),
        pytest.param(
            {"first_of": ["a", {"path": "user.email", "pipe": ["sha256_lower"]}]}, False, id="one is hashed"
        ),
    ],
)
def test_custom_data_does_not_read_a_trait_in_clear(row: dict[str, Any], clear: bool) -> None:
    made = document({"custom_data": [{"name": "note", **row}]}, email="user.email")
    problems = [(problem.path, problem.problem) for problem in check_draft(made)]
    assert problems == ([("custom_data.note", "personal_in_custom_data")] if clear else [])


@pytest.mark.parametrize(
    ("source", "place"),
    [
        pytest.param({"first_of": [{"path": "c"}, {"const": "XX"}]}, ".first_of[1]", id="a member"),
        pytest.param(
            {"first_of": [{"path": "c"}, "XX"]}, ".first_of[1]", id="a bare text is a constant here"
        ),
        pytest.param({"first_of": [{"path": "c"}, "US"]}, None, id="a good member"),
        pytest.param(
            {"first_of": [{"path": "c"}, "usa"], "pipe": [["map", {"usa": "US"}]]}, None, id="after the pipe"
        ),
        pytest.param(
            {"first_of": [{"path": "c"}, "US"], "pipe": [["map", {"US": "XX"}]]},
            ".first_of[1]",
            id="bad after it",
        ),
        pytest.param({"first_of": [{"path": "c"}, "US"], "default": "XX"}, ".default", id="a default"),
    ],
)
def test_constants_of_first_of_are_checked(source: Any, place: str | None) -> None:
    problems = [
        (problem.path, problem.problem) for problem in check_draft(document({"country_code": source}))
    ]
    assert problems == ([] if place is None else [(f"country_code{place}", "invalid")])


def test_a_template_is_searched_for_personal_texts_without_its_placeholders() -> None:
    """An address is refused; what makes one of the values of each event is not."""
    for template, problems in (
        ("{login}@{host.name}", []),
        ("{login}@example.com", []),
        ("ada@example.com {a}", ["fields.email"]),
        ("{a} +4915123456789", ["fields.email"]),
    ):
        found = check_draft(document(email={"template": template}))
        assert [problem.path for problem in found if problem.problem == "personal"] == problems


class Known(Invented):
    """A text whose content is `red`."""

    def is_equal(self, text: str) -> bool | None:
        return text == "red"


@pytest.mark.parametrize(
    ("pipe", "value", "expected"),
    [
        pytest.param(["lower"], Invented("x"), "unclear", id="a step that reads characters"),
        pytest.param(["to_number"], Invented("5"), "unclear", id="a number of unknown form"),
        pytest.param([["map", {"a": "b"}]], Invented("a"), "unclear", id="map of an unknown text"),
        pytest.param([["map", {"*": "b"}]], Invented("a"), "b", id="map of all texts"),
        pytest.param([["map", {"red": "b"}]], Known("x"), "b", id="map of a known text"),
        pytest.param([["map", {"blue": "b", "*": "c"}]], Known("x"), "c", id="map of another one"),
        pytest.param([["replace", "red", "b"]], Known("x"), "b", id="replace of the whole text"),
        pytest.param([["replace", "r", "b"]], Known("x"), "unclear", id="replace of a part"),
        pytest.param(["count"], [Invented("x")], 1, id="count"),
        pytest.param(["unique"], [Invented("x"), Invented("x")], "unclear", id="unique"),
        pytest.param(["sum"], [Invented("x")], "unclear", id="sum"),
        pytest.param(
            [["where", "a", "is", "red"], "count"], [{"a": Known("x")}], 1, id="where of a known text"
        ),
        pytest.param([["where", "a", "is", "red"], "count"], [{"a": Invented("x")}], "unclear", id="where"),
        pytest.param([["where", "a", "present"], "count"], [{"a": Invented("x")}], 1, id="where present"),
        pytest.param(
            [["where", "a", "above", 1], "count"], [{"a": Invented("2")}], "unclear", id="where above"
        ),
    ],
)
def test_texts_that_are_not_stored(pipe: list[Any], value: Any, expected: Any) -> None:
    """A result that depends on their characters is unclear."""
    assert piped(value, *pipe) == expected


def test_a_text_that_is_not_stored_passes_where_its_characters_do_not_matter() -> None:
    text = Invented("x")
    assert piped(text) is text
    assert piped([text], "first") is text
    assert isinstance(read({"template": "{a}-{b}"}, {"a": text, "b": 1}), Invented)
    assert read({"template": "{a}-{b}", "pipe": ["lower"]}, {"a": text, "b": 1}) == "unclear"


def test_a_form_that_is_known_is_read() -> None:
    number, time = Invented("1.234,5"), Invented("2026-11-28T10:00:00Z")
    number.form, time.form = "number", "time"
    assert piped(number, ["to_number", ","]) == Decimal("1234.5")
    assert piped(time, ["time", {"formats": ["iso"]}]) == "2026-11-28T10:00:00Z"
    assert piped(number, "lower") == "unclear"


def test_first_of_does_not_pass_over_an_unclear_member() -> None:
    source = compiled({"first_of": [{"path": "a", "pipe": ["lower"]}, {"path": "b"}]})
    assert source.read({"a": Invented("x"), "b": "y"}, Reading(), str) is UNCLEAR
