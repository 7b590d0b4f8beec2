"""docs/data-protection.md lists every table, with the rights that both database roles have on it."""

import re
from pathlib import Path

from app.settings import Settings
from app.store.database.privileges import TABLES

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"(?m)^\| `(\w+)` \| (.+) \| (.+) \| (.+) \| (.+) \|$")
LETTERS = {"SELECT": "R", "INSERT": "A", "UPDATE": "C", "DELETE": "D"}


def rows() -> dict[str, tuple[str, ...]]:
    text = (ROOT / "docs" / "data-protection.md").read_text()
    return {found[1]: found.groups()[1:] for found in ROW.finditer(text)}


def letters(verbs: str) -> str:
    """Return the verbs of a GRANT as the page writes them: in brackets for some columns only."""
    named = re.findall(r"(SELECT|INSERT|UPDATE|DELETE)( \()?", verbs)
    return "".join(f"({LETTERS[verb]})" if some else LETTERS[verb] for verb, some in named) or "–"


def _second_cells(text: str) -> list[str]:
    return [line.split(" | ")[1] for line in text.splitlines() if " | " in line]


def test_every_table_has_its_retention() -> None:
    """docs/retention.md names each table; those with personal data have a key and an erasure."""
    text = (ROOT / "docs" / "retention.md").read_text()
    sections = dict(re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |\Z)", text))
    listed = {
        title: set(re.findall(r"`([a-z_]+)`", "\n".join(_second_cells(body))))
        for title, body in sections.items()
    }
    assert set().union(*listed.values()) == set(TABLES)
    personal = {table for table, (_, kind, *_) in rows().items() if kind != "none"}
    staff = {table for table, (_, kind, *_) in rows().items() if "staff" in kind}
    assert personal - staff <= listed["Data of persons"] | {"oauth_states", "sign_ins"}
    assert staff <= listed["Data of operators"]
    assert personal & listed["Data without persons"] == set()


def test_the_defaults_of_retention_are_those_of_the_settings() -> None:
    """A number in parentheses behind a setting is its default."""
    text = (ROOT / "docs" / "retention.md").read_text()
    named = re.findall(r"`([A-Z_]+)` \((\d+)\)", text)
    assert len(named) == 5
    assert [
        (name, number) for name, number in named if Settings.model_fields[name.lower()].default != int(number)
    ] == []


def test_every_table_is_listed_with_the_rights_that_are_granted() -> None:
    """A test of the store compares `TABLES` with the schema."""
    granted = {table: (letters(rights.api), letters(rights.worker)) for table, rights in TABLES.items()}
    assert {table: (api, worker) for table, (*_, api, worker) in rows().items()} == granted


def test_the_tests_of_the_threat_model_exist() -> None:
    """Each control names the test that holds it."""
    named = re.findall(r"`(tests/[\w/.]+)`", (ROOT / "docs" / "threat-model.md").read_text())
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []
