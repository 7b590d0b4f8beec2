"""docs/data-protection.md lists every table, with the rights that both database roles have on it."""

import re
from pathlib import Path

import pytest

from app.store.database.privileges import TABLES

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"(?m)^\| `(\w+)` \| (.+) \| (.+) \| (.+) \| (.+) \| (.+) \|$")
LETTERS = {"SELECT": "R", "INSERT": "A", "UPDATE": "C", "DELETE": "D"}


def rows() -> dict[str, tuple[str, ...]]:
    text = (ROOT / "docs" / "data-protection.md").read_text()
    return {found[1]: found.groups()[1:] for found in ROW.finditer(text)}


def letters(verbs: str) -> str:
    """Return the verbs of a GRANT as the page writes them: in brackets for some columns only."""
    named = re.findall(r"(SELECT|INSERT|UPDATE|DELETE)( \()?", verbs)
    return "".join(f"({LETTERS[verb]})" if some else LETTERS[verb] for verb, some in named) or "–"


def test_every_table_is_listed() -> None:
    """A test of the store compares `TABLES` with the schema."""
    assert set(rows()) == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_the_rights_are_those_that_are_granted(table: str) -> None:
    """Both columns follow app/store/database/privileges.py."""
    *_, api, worker = rows()[table]
    assert (api, worker) == (letters(TABLES[table].api), letters(TABLES[table].worker))


def test_the_tests_of_the_threat_model_exist() -> None:
    """Each control names the test that holds it."""
    named = re.findall(r"`(tests/[\w/.]+)`", (ROOT / "docs" / "threat-model.md").read_text())
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []
