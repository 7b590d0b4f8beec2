"""Paths are a tiny grammar: parsed, never evaluated."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.mapping.paths import UNREACHABLE, last_name, parse_path, walk
from tests.tables import cases

EVENT: dict[str, Any] = {
    "a": {"b": [{"c": 1}, {"c": None}], "d": "text", "n": 5, "blank": "", "f": {"g": {"h": 7}}},
    "utm source": {"medium": "mail"},
    "__proto__": {"x": 2},
    "2024": 3,
    "a-b": {"$set": 4},
}


@cases(
    ("path", "value"),
    {
        "a name in a name": ("a.d", "text"),
        "an index": ("a.b[0].c", 1),
        "an index at the end": ("a.b[0]", {"c": 1}),
        "four names": ("a.f.g.h", 7),
        "a quoted name first": ('["utm source"].medium', "mail"),
        "a quoted name later": ('a-b["$set"]', 4),
        "a name that only looks special": ("__proto__.x", 2),
        "digits as a name": ("2024", 3),
        "null is absent": ("a.b[1].c", None),
        "beyond the list is absent": ("a.b[9].c", None),
        "an unknown name is absent": ("x.y.z", None),
        "so is what lies below one": ("a.x.z", None),
        "below an empty text is absent": ("a.blank.z", None),
        "a text has no members": ("a.d.e", UNREACHABLE),
        "a number has no members": ("a.n.e", UNREACHABLE),
        "not even deep ones": ("a.n.e.f", UNREACHABLE),
        "a list has no names": ("a.b.c", UNREACHABLE),
        "an object has no indexes": ("a[0]", UNREACHABLE),
    },
)
def test_reading(path: str, value: Any) -> None:
    """A path finds its value, nothing, or says that the event has another shape."""
    steps = parse_path(path)
    assert steps is not None
    assert walk(EVENT, steps) == value


@pytest.mark.parametrize(
    "path",
    [
        "",
        " ",
        ".",
        "a.",
        "a..b",
        "$..*..*..*",
        "a.*",
        "[*].a",
        "[-1].a",
        "a[-2]",
        "a[**]",
        "a.b[*].c[*].d[*]",
        "a[01]",
        "a[?(@.x)]",
        "a[99999]",
        "[0]",
        "a b",
        "${DATABASE_URL}",
        "{{ email }}",
        "%(email)999999999s",
        'f\'{__import__("os").system("id")}\'',
        "!!python/object/apply:os.system [id]",
        "a()",
        "a|b",
        "größe",
        "a\n",
        "a\0",
        '[""]',
        '["a',
        '["a\\"b"]',
        '["a\nb"]',
        "a.[0]",
        'a.["b"]',
        '["a"]b',
        "a." * 5000,
        ".".join("a" * 17),
        "a" * 257,
    ],
)
def test_what_is_no_path(path: str) -> None:
    """Anything beyond names and indexes is refused when the mapping is saved."""
    assert parse_path(path) is None


def test_the_last_word_names_a_custom_field() -> None:
    """A bare path's last name, not its index."""
    assert last_name(parse_path("event.items[0]") or ()) == "items"


@given(st.text(max_size=40))
def test_no_text_makes_it_raise(text: str) -> None:
    """Any text is a path or is none; a path can be asked of any event."""
    steps = parse_path(text)
    if steps is not None:
        walk(EVENT, steps)
