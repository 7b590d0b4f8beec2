"""A mapping document is checked where its author sees it: every problem, with its place."""

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from conversions import DOCUMENT, compiled, document

from app.domain.conversion.numbers import plain
from app.domain.mapping.diff import Difference, differences, is_same
from app.domain.mapping.document import (
    CHOICES,
    CONSTANTS,
    FIELDS,
    Mapping,
    check_draft,
    check_publishable,
    compile_mapping,
)
from app.domain.mapping.event_name import with_clean_event_name
from app.domain.mapping.reading import Reading
from app.domain.mapping.sources import Problems, compile_source, unchecked
from app.domain.observed.differences import changed_fields
from tests.domain.random_pairs import nested_value
from tests.tables import cases

NOTE = {"name": "note"}


def found(made: Any) -> list[tuple[str, str]]:
    """List the problems of a document that is to be published."""
    return [(p.path, p.problem) for p in check_publishable(made)]


def test_the_published_example_compiles() -> None:
    """The example of the interface is a good mapping, and knows what it reads."""
    mapping = compiled(DOCUMENT)
    assert mapping.constant_event_type == "ADD_TO_SHOPPING_CART"
    assert "event_id" not in mapping.by_field
    assert dict(mapping.paths) == {
        "country_code": "user.country",
        "event_timestamp": "event.timestamp",
        "email": "user.email",
        "phone": "user.phone",
        "custom_data.brand": "event.properties.brand",
    }


def test_match_keys_come_in_the_published_order() -> None:
    """Whatever the order in the document."""
    every = {name: f"user.{name}" for name in reversed(FIELDS)}
    mapping = compiled(document({"fields": every}))
    published = (
        "email phone first_name last_name address city state postal maid ramp_id match_id real_id merkle_id "
        "kantar_id fip"
    )
    assert " ".join(rule.field for rule, _ in mapping.match_keys) == published
    assert mapping.by_field.keys() >= set(FIELDS)


def test_each_type_of_field_has_a_rule_for_constants() -> None:
    """Only the event time has none, because it takes no constant. Types and names of fields stay apart."""
    assert {field.takes for field in FIELDS.values()} == CONSTANTS.keys() | {"time"}
    assert CHOICES.keys() <= {*FIELDS, "event_type", "event_source", "country_code"}
    assert CONSTANTS.keys().isdisjoint(CHOICES)


@cases(
    ("changes", "field"),
    {
        "no event type": ({"event_type": None}, "event_type"),
        "no event source": ({"event_source": None}, "event_source"),
        "no event name": ({"event_name": None}, "event_name"),
        "no country": ({"country_code": None}, "country_code"),
        "no consent": ({"consent": None}, "consent"),
        "no time": ({"fields": {"email": "user.email"}}, "fields.event_timestamp"),
        "no match key": ({"fields": {"event_timestamp": "t"}}, "fields"),
        "no user data": ({"consent": {"mode": "amazon"}}, "consent.user_data"),
        "no string": ({"consent": {"mode": "tcf"}}, "consent.string"),
    },
)
def test_what_a_draft_may_lack(changes: dict[str, Any], field: str) -> None:
    """A draft may lack what publishing requires."""
    made = {k: v for k, v in {**DOCUMENT, **changes}.items() if v is not None}
    assert found(made) == [(field, "required")]
    assert check_draft(made) == []
    assert isinstance(compile_mapping(made), list)


def test_an_empty_draft_is_a_draft() -> None:
    """Nothing is wrong with it; everything is lacking."""
    assert check_draft({}) == []
    assert {p.problem for p in check_publishable({})} == {"required"}


@cases(
    ("changes", "field", "problem"),
    {
        "an unknown member": ({"extra": 1}, "extra", "unknown_member"),
        "an unknown field": ({"fields": {**DOCUMENT["fields"], "a": "$b"}}, "fields.a", "unknown_member"),
        "another action": ({"action": "send_audience"}, "action", "invalid"),
        "an empty name": ({"name": ""}, "name", "invalid"),
        "a name of 101 characters": ({"name": "x" * 101}, "name", "invalid"),
        "a type without its s": ({"event_type": "OFF_AMAZON_PURCHASE"}, "event_type", "invalid"),
        "a number as type": ({"event_type": 7}, "event_type", "wrong_type"),
        "a bad default type": (
            {"event_type": {"path": "t", "default": "x"}},
            "event_type.default",
            "invalid",
        ),
        "a source in words": ({"event_source": "Website"}, "event_source", "invalid"),
        "a bad default country": (
            {"country_code": {"path": "c", "default": "XX"}},
            "country_code.default",
            "invalid",
        ),
        "a mapped name": ({"event_name": {"path": "event.name"}}, "event_name", "event_name_invalid"),
        "a name too long": ({"event_name": "x" * 5000}, "event_name", "event_name_invalid"),
        "fields that is a list": ({"fields": []}, "fields", "wrong_type"),
        "custom data that is an object": ({"custom_data": {}}, "custom_data", "wrong_type"),
        "consent as a word": ({"consent": "granted"}, "consent.mode", "invalid"),
        "a list as mode": ({"consent": {"mode": []}}, "consent.mode", "invalid"),
        "two frameworks": (
            {"consent": {"mode": "granted", "string": "x"}},
            "consent.string",
            "unknown_member",
        ),
    },
)
def test_what_is_wrong_even_in_a_draft(changes: dict[str, Any], field: str, problem: str) -> None:
    """The problem is found when the draft is saved, at its place, and alone."""
    made = {**DOCUMENT, **changes}
    assert found(made) == [(field, problem)]
    assert [(p.path, p.problem) for p in check_draft(made)] == [(field, problem)]


@cases(
    ("rows", "place", "problem"),
    {
        "14 rows": ([f"a.b{i}" for i in range(14)], "custom_data", "too_many"),
        "two rows of one name": (["a.x", "b.x"], "custom_data[1].name", "duplicate"),
        "a name with a blank": ([{"name": "a b", "path": "x"}], "custom_data[0].name", "custom_name_invalid"),
        "a row without name": ([{"path": "x"}], "custom_data[0].name", "custom_name_invalid"),
        "a number as row": ([7], "custom_data[0]", "wrong_type"),
        "a row without source": ([{"name": "x"}], "custom_data[0]", "required"),
        "a trait": ([NOTE | {"path": "user.email"}], "custom_data.note", "personal_in_custom_data"),
        "its path written otherwise": (
            [NOTE | {"path": 'user["email"]'}],
            "custom_data.note",
            "personal_in_custom_data",
        ),
    },
)
def test_what_is_wrong_with_custom_data(rows: list[Any], place: str, problem: str) -> None:
    """Also in a draft."""
    assert found(document({"custom_data": rows})) == [(place, problem)]


@cases(
    ("source", "field", "problem"),
    {
        "a bare path that is none": ("a..b", "fields.phone.path", "path_invalid"),
        "a number as source": (7, "fields.phone", "wrong_type"),
        "a pattern": ({"regex": "^(a+)+$"}, "fields.phone", "unknown_member"),
        "an unknown member": ({"path": "a", "when": 1}, "fields.phone", "unknown_member"),
        "constant and path": ({"const": "a", "path": "b"}, "fields.phone", "const_stands_alone"),
        "an object as constant": ({"const": {}}, "fields.phone.const", "wrong_type"),
        "a constant too long": ({"const": "x" * 1025}, "fields.phone.const", "too_long"),
        "no number as constant": ({"const": float("nan")}, "fields.phone.const", "wrong_type"),
        "a constant of another type": ({"const": True}, "fields.phone", "invalid"),
        "a default of another type": ({"path": "a", "default": True}, "fields.phone.default", "invalid"),
        "an unknown step": ({"path": "a", "pipe": ["trim", "eval"]}, "fields.phone.pipe[1]", "pipe_invalid"),
    },
)
def test_sources_that_are_none(source: Any, field: str, problem: str) -> None:
    """A source is a constant, or a path with a pipe and a default."""
    assert found(document(phone=source)) == [(field, problem)]


@cases(
    ("path", "sentence"),
    {
        "too long": ("a" * 257, "A path has at most 256 characters."),
        "too many steps": (".".join("a" * 17), "A path has at most 16 steps."),
        "too many lists": ("a[*].b[*].c[*]", "A path has at most 2 [*]."),
        "empty": ("", 'A path is names and indexes such as a.b[0].c, a.list[*].b or ["utm source"].x.'),
        "no text": (7, 'A path is names and indexes such as a.b[0].c, a.list[*].b or ["utm source"].x.'),
    },
)
def test_the_sentence_about_a_path_names_the_limit(path: Any, sentence: str) -> None:
    """Its form is not what is wrong with a path that is too long."""
    problems = check_draft(document(phone={"path": path}))
    assert [problem.sentence for problem in problems] == [sentence]


@pytest.mark.parametrize(
    ("name", "const"),
    [
        ("value", "49"),
        ("units_sold", 1.5),
        ("units_sold", True),
        ("currency", "ZZZ"),
        ("limited_data_use", "yes"),
    ],
)
def test_constants_that_no_event_could_use(name: str, const: Any) -> None:
    """What would refuse every event is refused once, when the mapping is saved."""
    assert found(document(**{name: {"const": const}})) == [(f"fields.{name}", "invalid")]
    assert found(document(**{name: {"path": "a", "default": const}})) == [
        (f"fields.{name}.default", "invalid")
    ]


@cases(
    ("written", "name"),
    {
        "blanks around it": (" Added to cart ", "Added to cart"),
        "other white space": ("\u00a0Added to cart\u2003", "Added to cart"),
        "a decomposed accent": ("Cafe\u0301", "Caf\u00e9"),
    },
)
def test_an_event_name_is_trimmed_and_composed(written: str, name: str) -> None:
    """One name has one spelling, in what is stored as in what is sent."""
    made = {**DOCUMENT, "event_name": written}
    assert compiled(made).event_name == name
    assert with_clean_event_name(made)["event_name"] == name
    assert with_clean_event_name({"event_name": {"const": written}})["event_name"] == {"const": name}


@pytest.mark.parametrize("name", ["__proto__", "productId", "brand", "attr1", "x" * 256])
def test_custom_names_are_only_letters_digits_and_underscores(name: str) -> None:
    """No such name means anything special here."""
    assert found(document({"custom_data": [{"name": name, "path": "x"}]})) == []


@pytest.mark.parametrize(
    "character",
    [*"!@#$%^&*|+=(){}[]<>?\\/~;\n\0\x85", *"\u200b\u202e\u2066\ufeff\u00ad\u2028\u3164\ufe0f\ud800"],
)
def test_characters_no_event_name_may_hold(character: str) -> None:
    """Amazon's tag template refuses the signs, and the others are invisible or turn letters round."""
    for written in (f"a{character}b", f"ab{character}"):
        assert found({**DOCUMENT, "event_name": written}) == [("event_name", "event_name_invalid")]


@pytest.mark.parametrize("name", ["Lead_TestDrive", "Added to cart", "Größe: 5, 'neu' - \"x\".", "x" * 256])
def test_valid_event_names(name: str) -> None:
    """1 to 256 characters, other scripts too."""
    assert found({**DOCUMENT, "event_name": name}) == []


def test_all_problems_are_listed_at_once() -> None:
    """An author mends a document in one go."""
    made = {"event_type": "x", "fields": {"email": "..", "phone": {"pipe": []}}, "consent": {"mode": "?"}}
    assert [path for path, _ in found(made)] == [
        "event_type",
        "fields.email.path",
        "fields.phone",
        "consent.mode",
        "event_source",
        "event_name",
        "country_code",
        "fields.event_timestamp",
    ]


def test_a_long_unknown_member_is_not_repeated() -> None:
    """Problems are shown and logged; a name may be anything."""
    problems = check_publishable({**DOCUMENT, "k" * 1_000_000: 1, "<script>": 2})
    assert [p.path for p in problems] == ["?", "?"]


MEMBERS = [
    *DOCUMENT,
    "const",
    "path",
    "pipe",
    "default",
    "mode",
    "string",
    "user_data",
    "event_timestamp",
    "email",
    "value",
    "currency",
]


def test_no_document_makes_it_raise() -> None:
    """Any JSON value is a mapping or has problems; drafts have no problem that publishing has not."""
    rng = random.Random(1)
    for _ in range(2_000):
        made = {rng.choice(MEMBERS): nested_value(rng, MEMBERS) for _ in range(5)}
        outcome = compile_mapping(made)
        assert isinstance(outcome, Mapping) or outcome
        drafts = check_draft(made)
        assert [p for p in check_publishable(made) if p.problem != "required" or p in drafts] == drafts, made


def test_equal_parts_of_mappings_share_an_object() -> None:
    """A thousand destinations read few different paths; each mapping by itself would take 30 kB."""
    one, other = (compiled(json.loads(json.dumps(DOCUMENT))) for _ in range(2))
    assert one.by_field["event_timestamp"] is other.by_field["event_timestamp"]
    assert one.by_field["event_type"] is other.by_field["event_type"]


@pytest.mark.parametrize("member", ["const", "default"])
def test_scalars_that_equal_each_other_stay_apart(member: str) -> None:
    """1, 1.0 and true are one key to Python, and three values to Amazon."""
    for value in (1, True, Decimal("1.0"), "1"):
        written = {"const": value} if member == "const" else {"path": "nowhere", "default": value}
        source = compile_source(written, "custom_data[0]", Problems(), bare="path")
        assert source is not None
        assert repr(source.read({}, Reading(), unchecked)) == repr(plain(value))


def test_a_fallback_that_the_pipe_makes_a_list_is_refused() -> None:
    """The constant of a `first_of` is checked after the pipe, whatever comes out of it."""
    made = document(currency={"first_of": [{"path": "c"}, {"const": "EUR,USD"}], "pipe": [["split", ","]]})
    assert {at for at, _ in found(made)} == {"fields.currency.first_of[1]"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(True, 1, id="true and 1"),
        pytest.param(0, False, id="0 and false"),
        pytest.param({"const": True}, {"const": Decimal(1)}, id="in an object"),
        pytest.param(
            {"first_of": ["a", {"const": False}]}, {"first_of": ["a", {"const": 0}]}, id="in a list"
        ),
        pytest.param([1], [1, 2], id="longer"),
        pytest.param({"path": "a"}, {"path": "a", "default": None}, id="another member"),
    ],
)
def test_different_documents(before: Any, after: Any) -> None:
    assert not is_same(before, after)
    assert is_same(before, before)
    assert is_same(after, after)


def test_numbers_and_forms_of_lists_are_compared_by_value() -> None:
    assert is_same({"a": [1, {"b": 1.5}]}, {"a": (Decimal(1), {"b": Decimal("1.5")})})


def test_a_difference_is_named_with_its_place() -> None:
    before, after = {"custom_data": [{"const": True}]}, {"custom_data": [{"const": 1}]}
    assert list(differences(before, after)) == [Difference("custom_data[0].const", True, 1)]


def test_a_member_that_is_null_is_a_difference() -> None:
    """A table without the member leaves the value as it is; with null, there is no value."""
    before, after = {"pipe": [["map", {"guest": None, "a": 1}]]}, {"pipe": [["map", {"a": 1}]]}
    assert list(differences(before, after)) == [Difference("pipe[0][1].guest", None, None)]
    assert list(differences(after, before)) == [Difference("pipe[0][1].guest", None, None)]


@pytest.mark.parametrize("change", ["const", "default"])
def test_a_backtest_compares_the_field(change: str) -> None:
    source = {} if change == "const" else {"path": "nowhere"}
    rows = [{"custom_data": [{"name": "member", **source, change: value}]} for value in (True, 1)]
    assert changed_fields(*[compiled(document(row)) for row in rows]) == {"custom_data.member"}
