"""The statements in the `.sql` files of app/store: Postgres accepts each of them, and no other is there.

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
    return file.with_name("__init__.py") if file.stem == file.parent.name else file.with_suffix(".py")


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


def test_an_assembled_statement_is_found() -> None:
    """In each way in which Python can assemble one."""
    found = assembled('a = f"SELECT {x}"\nb = "SELECT {}".format(x)\nc = S + " WHERE a"\n')
    assert len(list(found)) == 3
    assert list(assembled('d = "SELECT 1"\ne = f"{x} of {y}"\n')) == []
