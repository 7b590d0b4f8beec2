"""SQL stands in `app/store` only, where tests judge each statement (tests/store/test_statements.py)."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    path for path in (ROOT / "app").rglob("*.py") if path.relative_to(ROOT / "app").parts[0] != "store"
)
# How a statement begins, behind comments: a verb in capitals and a word that may follow it.
STATEMENT = re.compile(
    r"\s*(--[^\n]*\n\s*)*"
    r"(SELECT|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|WITH\s+\w+(\s*\(|\s+AS)|SET\s+(LOCAL|SESSION|\w+\s*(=|TO))"
    r"|(CREATE|ALTER|DROP)\s+[A-Z]+|GRANT\s+\w+|REVOKE\s+\w+|TRUNCATE\s+\w+|COPY\s+\w+|LISTEN\s+\w+|NOTIFY\s+\w+"
    r"|LOCK\s+TABLE|SHOW\s+\w+|CALL\s+\w+|EXPLAIN\b|BEGIN\b|COMMIT\b|ROLLBACK\b|SAVEPOINT\b|VACUUM\b|ANALYZE\b)"
)


def statements(source: str) -> list[str]:
    """Return the strings of a module that begin as an SQL statement does."""
    return [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value)
    ]


def test_modules_outside_the_store_contain_no_sql() -> None:
    """Not even a `SET LOCAL`: `app/store/transactions.py` has functions for those."""
    assert {path: found for path in MODULES if (found := statements(path.read_text()))} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT now()",
        "\\n  -- why\\n  SELECT 1",
        "INSERT INTO keys VALUES ($1)",
        "UPDATE lanes SET fence = 1",
        "DELETE FROM keys",
        "WITH old AS (SELECT 1) SELECT * FROM old",
        "SET LOCAL lock_timeout = '3s'",
        "CREATE ROLE x",
        "LISTEN lanes",
    ],
)
def test_sql_would_be_found(statement: str) -> None:
    """Also as a part of a formatted string."""
    assert statements(f'x = "{statement}"')
    assert statements(f'x = f"{statement} {{table}}"')


@pytest.mark.parametrize("text", ["Set a limit.", "UPDATE", "Select a destination", "DELETE", "SET_NAME=1"])
def test_other_words_are_no_sql(text: str) -> None:
    """A sentence, a method and a setting."""
    assert statements(f'x = "{text}"') == []
