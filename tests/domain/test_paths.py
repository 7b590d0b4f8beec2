"""Paths are a tiny grammar: parsed, never evaluated."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.mapping.paths import IMPASSABLE, last_name, parse_path, walk

EVENT: dict[str, Any] = {
    "a": {"b": [{"c": 1}, {"c": None}], "d": "text", "n": 5, "blank": "", "f": {"g": {"h": 7}}},
    "utm source": {"medium": "mail"},
    "__proto__": {"x": 2},
    "2024": 3,
    "a-b": {"$set": 4},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("a.d", "text", id="a name in a name"),
        pytest.param("a.b[0].c", 1, id="an index"),
        pytest.param("a.b[0]", {"c": 1}, id="an index at the end"),
        pytest.param("a.f.g.h", 7, id="four names"),
        pytest.param('["utm source"].medium', "mail", id="a quoted name first"),
        pytest.param('a-b["$set"]', 4, id="a quoted name later"),
        pytest.param("__proto__.x", 2, id="a name that only looks special"),
        pytest.param("2024", 3, id="digits as a name"),
        pytest.param("a.b[1].c", None, id="null is absent"),
        pytest.param("a.b[9].c", None, id="beyond the list is absent"),
        pytest.param("x.y.z", None, id="an unknown name is absent"),
        pytest.param("a.x.z", None, id="so is what lies below one"),
        pytest.param("a.blank.z", None, id="below an empty text is absent"),
        pytest.param("a.d.e", IMPASSABLE, id="a text has no members"),
        pytest.param("a.n.e", IMPASSABLE, id="a number has no members"),
        pytest.param("a.n.e.f", IMPASSABLE, id="not even deep ones"),
        pytest.param("a.b.c", IMPASSABLE, id="a list has no names"),
        pytest.param("a[0]", IMPASSABLE, id="an object has no indexes"),
    ],
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
        ".a",
        "a..b",
        "$..*..*..*",
        "a.*",
        "[*].a",
        "[-1].a",
        "a[-2]",
        "a[-0]",
        "a[**]",
        "a.b[*].c[*].d[*]",
        "a[01]",
        "a[0:2]",
        "a[?(@.x)]",
        "a[99999]",
        "[0]",
        "a b",
        "a b.c",
        "${DATABASE_URL}",
        "{{ email }}",
        "{{7*7}}",
        "%(email)999999999s",
        'f\'{__import__("os").system("id")}\'',
        "!!python/object/apply:os.system [id]",
        "a()",
        "a|b",
        "a;b",
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
        "a.b" * 100,
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
