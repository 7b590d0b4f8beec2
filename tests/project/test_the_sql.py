"""Rules for SQL in `app/store`."""

import re
from pathlib import Path

import pytest

STORE = Path(__file__).resolve().parents[2] / "app" / "store"
CTE = re.compile(
    r"^\s*(?:WITH (?:RECURSIVE )?|\), )?(\w+)(?: \([\w, ]+\))? AS (?:NOT )?(?:MATERIALIZED )?\($"
)


def ctes_without_comment(source: str) -> list[str]:
    """Return the names of the common table expressions without a comment above or on their first line."""
    lines = source.splitlines()
    return [
        found[1]
        for above, line, below in zip(lines, lines[1:], lines[2:], strict=False)
        if (found := CTE.match(line)) and not any(near.lstrip().startswith("--") for near in (above, below))
    ]


@pytest.mark.parametrize(
    "file",
    sorted([*STORE.rglob("*.py"), *STORE.rglob("*.sql")]),
    ids=lambda path: path.relative_to(STORE).as_posix(),
)
def test_each_cte_has_a_comment(file: Path) -> None:
    """A comment says what a common table expression is for."""
    assert ctes_without_comment(file.read_text()) == []


def test_a_cte_without_comment_is_found() -> None:
    """The rule above can fail."""
    sql = "\nWITH due AS (\n  -- Due now.\n  SELECT 1\n), more AS (\n  SELECT 2\n)"
    assert ctes_without_comment(sql) == ["more"]
