"""All workers of a run share one cluster, and tests that only read share a database.

So a test reads and ends only sessions of its own database, and the shared database refuses every change.
"""

import ast
import re
from pathlib import Path

import asyncpg
import pytest

TESTS = Path(__file__).resolve().parents[1]
OF_THE_CLUSTER = re.compile(r"\bFROM pg_(locks|stat_activity)\b")
LIMITED = re.compile(r"datname = current_database\(\)|SESSIONS_HERE|\bpid = ")


def unlimited(source: str) -> list[str]:
    """Return the statements of a module that see the sessions or locks of other databases."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    texts = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in parts
    ]
    return [text for text in texts if OF_THE_CLUSTER.search(text) and not LIMITED.search(text)]


def test_a_statement_sees_the_sessions_of_its_own_database_only() -> None:
    """One that ends all sessions of the product would end those of a test in another worker."""
    sources = {path: path.read_text() for path in TESTS.rglob("*.py") if path != Path(__file__).resolve()}
    concerned = {path: source for path, source in sources.items() if OF_THE_CLUSTER.search(source)}
    assert len(concerned) > 5
    found = {str(path.relative_to(TESTS)): unlimited(source) for path, source in concerned.items()}
    assert {path: texts for path, texts in found.items() if texts} == {}


@pytest.mark.reads_only
async def test_a_test_that_only_reads_changes_nothing(owner: asyncpg.Connection) -> None:
    """A test with the mark `reads_only` that changes something fails: no other test meets its rows."""
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await owner.execute("DELETE FROM audit")
