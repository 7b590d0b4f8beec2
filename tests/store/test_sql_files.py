"""The rules for SQL: where it stands, that Postgres accepts it, its comments, and how much is assembled.

SQL that Python assembles can be neither run nor explained without it. It is for optional filters and for
names of tables, and its number has a limit.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app.store import read_sql

STORE = Path(__file__).parents[2] / "app" / "store"
FILES = sorted(STORE.rglob("*.sql"))
MOST_ASSEMBLED = 40
_SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|FROM|WHERE|WITH)\b")
_GRANTS = STORE / "database" / "privileges.py"  # GRANT consists of names of tables, columns and roles


def module_of(file: Path) -> Path:
    """Return the module that reads a file."""
    module = file.with_suffix(".py")
    return module if module.exists() else file.with_name("__init__.py")


def names_in(module: Path) -> set[str]:
    """Return the names of the statements that a module takes from its file."""
    return {
        node.slice.value
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == "SQL"
        and isinstance(node.slice, ast.Constant)
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(STORE).as_posix())
async def test_postgres_accepts_each_statement(owner: asyncpg.Connection, file: Path) -> None:
    """On the schema of the migrations, with the types of its parameters."""
    for statement in read_sql(str(module_of(file))).values():
        await owner.prepare(statement)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(STORE).as_posix())
def test_a_module_uses_each_statement_of_its_file(file: Path) -> None:
    """And no name that is not there."""
    assert names_in(module_of(file)) == set(read_sql(str(module_of(file))))


def assembled(source: str) -> Iterator[str]:
    """Yield each SQL literal of a module that has parts from elsewhere: `{…}`, `.format` or `+`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.JoinedStr(values=parts) if any(isinstance(each, ast.FormattedValue) for each in parts):
                pass
            case ast.Call(func=ast.Attribute(value=text, attr="format")):
                parts = [text]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                parts = [left, right]
            case _:
                continue
        literal = " ".join(str(each.value) for each in parts if isinstance(each, ast.Constant))
        if _SQL.search(literal):
            yield literal


def test_few_statements_are_assembled() -> None:
    """A new one needs an optional filter, or the name of a table; the others stand in a file."""
    found = [
        text for path in sorted(set(STORE.rglob("*.py")) - {_GRANTS}) for text in assembled(path.read_text())
    ]
    assert len(found) <= MOST_ASSEMBLED, "\n".join(found)


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


OUTSIDE = sorted(path for path in STORE.parent.rglob("*.py") if STORE not in path.parents)
# How a statement begins, behind comments: a verb in capitals and a word that may follow it.
STATEMENT = re.compile(
    r"\s*(--[^\n]*\n\s*)*"
    r"(SELECT|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|WITH\s+\w+(\s*\(|\s+AS)|SET\s+(LOCAL|SESSION|\w+\s*(=|TO))"
    r"|(CREATE|ALTER|DROP)\s+[A-Z]+|GRANT\s+\w+|REVOKE\s+\w+|TRUNCATE\s+\w+|COPY\s+\w+|LISTEN\s+\w+|NOTIFY\s+\w+"
    r"|LOCK\s+TABLE|SHOW\s+\w+|CALL\s+\w+|EXPLAIN\b|BEGIN\b|COMMIT\b|ROLLBACK\b|SAVEPOINT\b|VACUUM\b|ANALYZE\b)"
)


def literals(source: str) -> list[str]:
    """Return the strings of a module that begin as an SQL statement does."""
    return [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value)
    ]


def test_modules_outside_the_store_contain_no_sql() -> None:
    """Not even a `SET LOCAL`: `app/store/transactions.py` has functions for those."""
    assert {path: found for path in OUTSIDE if (found := literals(path.read_text()))} == {}
