"""Sources, clause by clause (interface §4.1, §4.3, §4.4).

Laws of all sources: they are total, and their work is in proportion to the steps that are charged.
"""

import random
import re
import sys
from decimal import Decimal
from types import FrameType
from typing import Any, Final

import pytest

from app.domain.mapping.document import check_draft, compile_mapping, holds_literal_time
from app.domain.mapping.pipes import PIPES
from app.domain.mapping.reading import MAX_STEPS, UNCLEAR, Invented, Reading, SourceFailed
from app.domain.mapping.sources import Problems, Source, compile_source, unchecked
from tests.domain.conversions import document
from tests.domain.random_pairs import random_event, random_source, random_value
from tests.domain.readings import compiled, piped, read, read_with_notes, refused
from tests.tables import cases

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


@cases(
    ("template", "value"),
    {
        "a number as to_string writes it": ("{id}", "7"),
        "without an exponent": ("{total}", "1000"),
        "a text as it is": ("{country}", " DE "),
        "texts, placeholders and steps": ("order-{id}-{country | trim|lower}", "order-7-de"),
        "spaces in a placeholder": ("{ id }", "7"),
        "braces": ("{{{id}}}", "{7}"),
        "braces alone": ("}}{{{id}", "}{7"),
        "a date and the rest of a time": ("{date}T00:00:00Z", "2026-11-28T00:00:00Z"),
        "one value of a list": ("{lines[*].sku | join}", "a b"),
        "a list step before it": ("{lines[*].sku|unique|last}", "b"),
        "the last member": ("{lines[-1].sku}", "b"),
        "a quoted name": ('{["a|{b}"]}', "odd"),
        "a placeholder that is absent": ("{id}{absent}", None),
        "null": ("{id}{null}", None),
        "or blank": ("{id}{blank}", None),
        "or blank after its steps": ("{id}{blank | trim}", None),
        "a boolean": ("{id}{paid}", "wrong_type"),
        "a list": ("{id}{lines}", "wrong_type"),
        "an object": ("{id}{lines[0]}", "wrong_type"),
        "a failing step": ("{country | to_number}", "transform_failed"),
        "a path that cannot be read": ("{id.x}", "wrong_type"),
        "a boolean as text": ("{paid | to_string}", "true"),
    },
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
        "{id",
        "{}",
        "{id}}",
        "{{id}",
        "{id | }",
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


@cases(
    ("content", "value"),
    {
        "the first that passes": ({"a": " 1 ", "b": "2"}, "1"),
        "one that does not pass is left out": ({"a": "x", "b": "2"}, "2"),
        "so is one that is blank": ({"a": " ", "b": None, "c": 3, "d": 4}, "34"),
        "and one that cannot be read": ({"a": 1, "b": "2"}, "2"),
        "none passes and one is invalid": ({"a": "x", "b": ""}, "value_invalid"),
        "none passes and one is unreadable": ({"a": 1}, "wrong_type"),
        "all are absent": ({}, None),
        "or blank": ({"a": "", "b": None}, None),
    },
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


@cases(
    ("source", "problems"),
    {
        "one member": ({"first_of": ["a"]}, [("x.first_of", "invalid")]),
        "nine members": ({"first_of": ["a"] * 9}, [("x.first_of", "invalid")]),
        "no list": ({"first_of": "a"}, [("x.first_of", "invalid")]),
        "a default": ({"first_of": [{"path": "a", "default": 1}, "b"]}, [("x.first_of[0]", "not_allowed")]),
        "on_error": (
            {"first_of": ["a", {"path": "a", "on_error": "omit"}]},
            [("x.first_of[1]", "not_allowed")],
        ),
        "first_of": ({"first_of": [{"first_of": ["a", "b"]}, "b"]}, [("x.first_of[0]", "not_allowed")]),
        "all problems at once": (
            {"first_of": [{"path": "a..b"}, {"template": "{"}, {"path": "a", "pipe": ["no"]}, 5, {}]},
            [
                ("x.first_of[0].path", "path_invalid"),
                ("x.first_of[1].template", "template_invalid"),
                ("x.first_of[2].pipe[0]", "pipe_invalid"),
                ("x.first_of[3]", "wrong_type"),
                ("x.first_of[4]", "required"),
            ],
        ),
        "two kinds": ({"path": "a", "template": "{a}"}, [("x", "required")]),
        "no kind": ({"pipe": []}, [("x", "required")]),
        "another on_error": ({"path": "a", "on_error": "skip"}, [("x.on_error", "invalid")]),
        "const with on_error": ({"const": 1, "on_error": "omit"}, [("x", "const_stands_alone")]),
        "null as a pipe": ({"path": "a", "pipe": None}, [("x.pipe", "wrong_type")]),
        "a text as a pipe": ({"path": "a", "pipe": "trim"}, [("x.pipe", "wrong_type")]),
        "17 steps": ({"path": "a", "pipe": ["trim"] * 17}, [("x.pipe", "wrong_type")]),
        "ambiguous formats": (
            {"path": "a", "pipe": [["time", {"formats": ["DD/MM/YYYY HH", "MM/DD/YYYY HH"], "zone": "UTC"}]]},
            [("x.pipe[0]", "ambiguous_formats")],
        ),
    },
)
def test_sources_that_are_refused(source: Any, problems: list[tuple[str, str]]) -> None:
    assert refused(source) == problems


def test_on_error() -> None:
    for choice in ("omit", "reject"):
        assert compiled({"path": "a", "on_error": choice}).on_error == choice
        assert compiled({"first_of": ["a", "b"], "on_error": choice}).on_error == choice
    assert compiled("a").on_error is None
    assert refused({"path": "a", "on_error": "omit"}, on_error=False) == [("x.on_error", "not_allowed")]


OMIT, REJECT = ({"path": "t", "on_error": word} for word in ("omit", "reject"))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"fields": {"event_timestamp": OMIT}}, "fields.event_timestamp.on_error"),
        ({"fields": {"limited_data_use": REJECT}}, "fields.limited_data_use.on_error"),
        ({"country_code": OMIT}, "country_code.on_error"),
        ({"event_type": OMIT}, "event_type.on_error"),
        ({"event_source": OMIT}, "event_source.on_error"),
        ({"consent": {"mode": "amazon", "user_data": OMIT}}, "consent.user_data.on_error"),
        ({"fields": {"value": OMIT}}, None),
        ({"fields": {"email": REJECT}}, None),
        ({"fields": {"user_agent": REJECT}}, None),
        ({"custom_data": [{"name": "a", **REJECT}]}, None),
    ],
)
def test_fields_that_always_reject_take_no_on_error(change: dict[str, Any], place: str | None) -> None:
    problems = [(problem.path, problem.problem) for problem in check_draft({**document(), **change})]
    assert problems == ([] if place is None else [(place, "not_allowed")])


TIME = "2026-11-28T14:15:19Z"


@cases(
    ("source", "place"),
    {
        "a constant": ({"const": TIME}, ""),
        "a constant that is no time": ({"const": "today"}, ""),
        "a default": ({"path": "t", "default": TIME}, ".default"),
        "a target of map": ({"path": "t", "pipe": [["map", {"a": TIME}]]}, ".pipe[0]"),
        "a number as target": ({"path": "t", "pipe": [["map", {"*": 1767225600}]]}, ".pipe[0]"),
        "replace": ({"path": "t", "pipe": ["trim", ["replace", "a", TIME]]}, ".pipe[1]"),
        "what the source's own time step reads": (
            {
                "path": "t",
                "pipe": [
                    ["map", {"*": "28.11.2026 14:15"}],
                    ["time", {"formats": ["DD.MM.YYYY HH:mm"], "zone": "UTC"}],
                ],
            },
            ".pipe[0]",
        ),
        "or its epoch_s": ({"path": "t", "pipe": [["map", {"*": 5}], "epoch_s"]}, ".pipe[0]"),
        "a constant as member": ({"first_of": ["t", {"const": TIME}]}, ".first_of[1]"),
        "the default of first_of": ({"first_of": ["t", "u"], "default": TIME}, ".default"),
        "deep": ({"first_of": ["t", {"path": "u", "pipe": [["map", {"*": TIME}]]}]}, ".first_of[1].pipe[0]"),
        "the outer pipe": ({"first_of": ["t", "u"], "pipe": [["map", {"*": TIME}]]}, ".pipe[0]"),
        "what the outer time step reads": (
            {
                "first_of": ["t", {"path": "u", "pipe": [["map", {"*": "28.11.2026 14:15"}]]}],
                "pipe": [["time", {"formats": ["DD.MM.YYYY HH:mm"], "zone": "UTC"}]],
            },
            ".first_of[1].pipe[0]",
        ),
        "a template with a clock": ({"template": "{d}T12:00:00Z"}, ".template"),
        "or a year": ({"template": "2026-{d}"}, ".template"),
        "a zone at the end": ({"template": "{d} {t}+02:00"}, None),
        "without a colon": ({"template": "{d}T{t}-0530"}, None),
        "hours alone": ({"template": "{d}T{t}+05"}, None),
        "Z": ({"template": "{d}T{t}Z"}, None),
        "a zone elsewhere": ({"template": "+02:00{d}"}, ".template"),
        "other targets": ({"path": "t", "pipe": [["map", {"a": "b", "*": None}]]}, None),
        "a sign": ({"path": "t", "pipe": [["replace", " ", "T"]]}, None),
        "a path": ("t", None),
    },
)
def test_literal_times_are_refused_at_any_depth(source: Any, place: str | None) -> None:
    """A version that was published earlier still compiles, and is named by preflight."""
    made = document(event_timestamp=source)
    expected = [] if place is None else [(f"fields.event_timestamp{place}", "not_allowed")]
    assert [(problem.path, problem.problem) for problem in check_draft(made)] == expected
    assert isinstance(compile_mapping(made), list) is (place is not None)
    assert not isinstance(compile_mapping(made, is_published=True), list)
    assert holds_literal_time(made) is (place is not None)


@cases(
    ("row", "clear"),
    {
        "a path that is hashed": ({"path": "user.email", "pipe": ["sha256_lower"]}, False),
        "a template": ({"template": "{user.email}"}, True),
        "a placeholder that is hashed": ({"template": "x{user.email | sha256_lower}"}, False),
        "a template that is hashed": ({"template": "{user.email}", "pipe": ["sha256_lower"]}, False),
        "a member": ({"first_of": ["a", "user.email"]}, True),
        "all are hashed": ({"first_of": ["a", "user.email"], "pipe": ["sha256_lower"]}, False),
        "one is hashed": ({"first_of": ["a", {"path": "user.email", "pipe": ["sha256_lower"]}]}, False),
    },
)
def test_custom_data_does_not_read_a_trait_in_clear(row: dict[str, Any], clear: bool) -> None:
    made = document({"custom_data": [{"name": "note", **row}]}, email="user.email")
    problems = [(problem.path, problem.problem) for problem in check_draft(made)]
    assert problems == ([("custom_data.note", "personal_in_custom_data")] if clear else [])


@cases(
    ("source", "place"),
    {
        "a member": ({"first_of": [{"path": "c"}, {"const": "XX"}]}, ".first_of[1]"),
        "a bare text is a constant here": ({"first_of": [{"path": "c"}, "XX"]}, ".first_of[1]"),
        "a good member": ({"first_of": [{"path": "c"}, "US"]}, None),
        "after the pipe": ({"first_of": [{"path": "c"}, "usa"], "pipe": [["map", {"usa": "US"}]]}, None),
        "bad after it": (
            {"first_of": [{"path": "c"}, "US"], "pipe": [["map", {"US": "XX"}]]},
            ".first_of[1]",
        ),
        "a default": ({"first_of": [{"path": "c"}, "US"], "default": "XX"}, ".default"),
    },
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
        ("{{ada@example.com}} {a}", ["fields.email"]),
        ("ada@{{example.com {a}", ["fields.email"]),
        ('{["ada@example.com"]}', ["fields.email"]),
        ('{["ada@example.com"]', ["fields.email"]),
    ):
        found = check_draft(document(email={"template": template}))
        assert [problem.path for problem in found if problem.problem == "personal"] == problems


class Known(Invented):
    """A text whose content is `red`."""

    def is_equal(self, text: str) -> bool | None:
        return text == "red"


@cases(
    ("pipe", "value", "expected"),
    {
        "a step that reads characters": (["lower"], Invented("x"), "unclear"),
        "a number of unknown form": (["to_number"], Invented("5"), "unclear"),
        "map of an unknown text": ([["map", {"a": "b"}]], Invented("a"), "unclear"),
        "map of all texts": ([["map", {"*": "b"}]], Invented("a"), "b"),
        "map of a known text": ([["map", {"red": "b"}]], Known("x"), "b"),
        "map of another one": ([["map", {"blue": "b", "*": "c"}]], Known("x"), "c"),
        "replace of the whole text": ([["replace", "red", "b"]], Known("x"), "b"),
        "replace of a part": ([["replace", "r", "b"]], Known("x"), "unclear"),
        "count": (["count"], [Invented("x")], 1),
        "unique": (["unique"], [Invented("x"), Invented("x")], "unclear"),
        "sum": (["sum"], [Invented("x")], "unclear"),
        "where of a known text": ([["where", "a", "is", "red"], "count"], [{"a": Known("x")}], 1),
        "where": ([["where", "a", "is", "red"], "count"], [{"a": Invented("x")}], "unclear"),
        "where present": ([["where", "a", "present"], "count"], [{"a": Invented("x")}], 1),
        "where above": ([["where", "a", "above", 1], "count"], [{"a": Invented("2")}], "unclear"),
    },
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
    number = Invented("1.234,5")
    number.is_numeric = True
    assert piped(number, ["to_number", ","]) == Decimal("1234.5")
    assert piped(number, "lower") == "unclear"


def test_first_of_does_not_pass_over_an_unclear_member() -> None:
    source = compiled({"first_of": [{"path": "a", "pipe": ["lower"]}, {"path": "b"}]})
    assert source.read({"a": Invented("x"), "b": "y"}, Reading(), str) is UNCLEAR


CALLS_PER_STEP: Final = 60


def written_source(rng: random.Random) -> Any:
    """Return a source as somebody writes it: of the language, or with steps whose arguments are anything."""
    source = random_source(rng, rng.choice(("items", "items[*].price", "event.total", "user", "a[")))
    if rng.random() < 0.5:
        words = (",", ".", "is", "in", "above", "present", "price", "items[*].name")
        source["pipe"] = [
            [rng.choice([*PIPES]), *rng.choices((*words, random_value(rng)), k=rng.randrange(3))]
            for _ in range(rng.randrange(1, 4))
        ]
    return source


@pytest.mark.campaign
def test_sources_are_total_and_their_work_is_charged() -> None:
    """Any event through any source gives a value or a failure, with few function calls for each step."""
    rng, compiled = random.Random(1), 0
    for _ in range(6_000):
        written, event, problems = written_source(rng), random_event(rng), Problems()
        source = compile_source(written, "x", problems, bare="path")
        if source is None:
            assert problems, written
            assert all(problem.path.startswith("x") for problem in problems), (written, problems)
            continue
        compiled += 1
        reading = Reading(steps_left=MAX_STEPS - source.steps)
        outcome, calls = _counted(source, event, reading)
        assert outcome is None or isinstance(outcome, str | int | Decimal | list | dict | SourceFailed), (
            written
        )
        assert calls <= CALLS_PER_STEP * (MAX_STEPS - reading.steps_left), (written, event)
        assert source.read(event, Reading(), unchecked) == outcome, (written, event)
    assert 2_000 < compiled < 5_000


def _counted(source: Source, event: dict[str, Any], reading: Reading) -> tuple[Any, int]:
    """Return the value of a source, and the number of function calls that it took."""
    calls = 0

    def count(_frame: FrameType, kind: str, _argument: Any) -> None:
        nonlocal calls
        calls += kind in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        outcome = source.read(event, reading, unchecked)
    finally:
        sys.setprofile(before)
    return outcome, calls


@pytest.mark.parametrize(
    "pipe",
    [
        [["sum", "p", "q", "r", {"decimal": ","}]],
        ["unique"],
        [["where", "p", "in", [str(number) for number in range(50)]]],
        [["where", "r", "not_in", [str(number) for number in range(50)]]],
        [["where", "r[*]", "is", 2]],
        [["pluck", "p"], "sum"],
        [["pluck", "p"], "unique", "join"],
    ],
)
def test_a_long_list_takes_no_more_than_its_steps(pipe: list[Any]) -> None:
    """The work of an event has a limit, whatever its lists hold."""
    source = compile_source({"path": "list", "pipe": pipe * 3}, "x", Problems(), bare="path")
    assert source is not None
    for members in (100, 2_000, 20_000):
        reading = Reading(steps_left=MAX_STEPS - source.steps)
        event = {"list": [{"p": "1.234,5 €", "q": "x" * 10, "r": [1] * 10}] * members}
        _, calls = _counted(source, event, reading)
        assert calls <= CALLS_PER_STEP * MAX_STEPS
