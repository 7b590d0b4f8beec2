"""The documents name the settings, commands, options, reasons, rules, tables and tests that there are."""

import asyncio
import re
import shlex
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli import COMMANDS, _parser
from app.domain.conversion.amazon_codes import EVENT_TYPES
from app.domain.destination import Region
from app.domain.mapping.lint import LintWarning, lint
from app.domain.outcomes.outcome import OUTCOMES
from app.domain.outcomes.status import Status
from app.settings import Settings, secret_settings
from app.store.database.privileges import TABLES
from dev.pages import PAGES, states
from tests.domain.conversions import amazon_event, document, event, refused
from tests.pipeline.served import ADMIN, served_world

ROOT = Path(__file__).resolve().parents[2]
EVENT_TYPES_PAGE = (ROOT / "docs" / "event-types.md").read_text()
SETTINGS = sorted(name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_current(name: str) -> None:
    """If this fails, run `./run docs --update`."""
    assert (ROOT / name).read_text() == PAGES[name]()


def test_every_setting_has_a_row() -> None:
    """Every setting and no other, secrets marked."""
    text = (ROOT / "docs" / "settings.md").read_text()
    assert sorted(re.findall(r"(?m)^\| `([A-Z_]+)` \|", text)) == SETTINGS
    secret = set(re.findall(r"(?m)^\| `([A-Z_]+)` \| secret \|", text))
    assert secret == {name.upper() for name in secret_settings()}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_example_explains_each_setting_and_shows_its_default(name: str) -> None:
    """`.env.example` has a comment above each setting, or above several."""
    field = Settings.model_fields[name.lower()]
    pattern = rf"(?m)^# [^\n]+\n(?:# [A-Z_]+=.*\n)*# {name}=(.*)$"
    shown = re.search(pattern, (ROOT / ".env.example").read_text())
    assert shown is not None
    if isinstance(field.default, tuple):
        assert shown[1] == ",".join(map(str, field.default))
    elif isinstance(field.default, bool):
        assert shown[1] == str(field.default).lower()
    elif isinstance(field.default, str | int):
        assert shown[1] == str(field.default)


def test_the_image_takes_no_setting_that_does_not_exist() -> None:
    """A misspelt variable in the compose file would be ignored."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(compose["x-program"]["environment"]) <= set(SETTINGS)


def test_an_event_without_a_required_member_is_rejected_as_the_page_says() -> None:
    """docs/event-types.md has every member that publishing requires, with the reason of the rejection."""
    absent: Any = {"path": "nowhere"}
    lacking = {
        "event_type": document({"event_type": absent}),
        "event_source": document({"event_source": absent}),
        "country_code": document({"country_code": absent}),
        "fields.event_timestamp": document(event_timestamp=absent),
        "fields": document({"fields": {"event_timestamp": "event.timestamp", "email": absent}}),
        "consent": document({"consent": {"mode": "amazon", "user_data": absent}}),
    }
    listed = re.findall(r"(?m)^\| .*?`([\w.]+)` \| rejected with `(\w+)`", EVENT_TYPES_PAGE)
    found = [(name, refused(event(), made, region=Region.EU).reason) for name, made in lacking.items()]
    assert found == listed


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_each_event_type_advises_and_ignores_the_fields_that_the_page_says(kind: str) -> None:
    """A row of docs/event-types.md agrees with the warnings of a mapping and with what Amazon gets."""
    [row] = [line.split(" | ") for line in EVENT_TYPES_PAGE.splitlines() if line.startswith(f"| `{kind}` |")]
    advised, optional, ignored = (set(re.findall(r"`(\w+)`", cell)) for cell in row[3:6])
    sent_as = {"value": "value", "currency": "currencyCode", "units_sold": "unitsSold"}
    assert advised | optional | ignored == sent_as.keys()
    assert _fields(lint(document({"event_type": kind}), Region.NA), "field_advised") == advised
    made = document({"event_type": kind}, value="n", currency="c", units_sold="n")
    assert _fields(lint(made, Region.NA), "field_ignored") == ignored
    body = amazon_event({**event(), "n": 2, "c": "USD"}, made)
    assert {name for name, member in sent_as.items() if member in body} == advised | optional


def _fields(warnings: Iterator[LintWarning], code: str) -> set[str]:
    return {warning.field.removeprefix("fields.") for warning in warnings if warning.code == code}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_documented(command: object) -> None:
    """docs/commands.md names each command as it is typed."""
    name = getattr(command, "name", "")
    assert re.search(rf"`(\./run )?{name}[ `]", (ROOT / "docs" / "commands.md").read_text())


def test_every_link_leads_somewhere() -> None:
    """Links between documents point to files that exist."""
    links = {
        (path, target)
        for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    }
    assert {(path, target) for path, target in links if not (path.parent / target).exists()} == set()


def test_every_page_is_in_the_index() -> None:
    """docs/README.md names each page of docs/ once; folders have an index of their own."""
    folder = ROOT / "docs"
    named = re.findall(r"(?m)^\| \[[^\]]+\]\(([\w-]+\.md)\) \|", (folder / "README.md").read_text())
    assert sorted(named) == sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")


def test_every_status_has_a_meaning_and_a_transition() -> None:
    """docs/states.md names every status."""
    assert set(states.MEANINGS) == set(Status)
    assert {target for _, target, _ in states.TRANSITIONS} == set(Status)


def test_every_decision_is_in_one_group_of_the_index() -> None:
    """docs/adr/README.md lists each record once, superseded ones apart with their successor."""
    folder = ROOT / "docs" / "adr"
    in_force, _, superseded = (folder / "README.md").read_text().partition("## Superseded")
    records = sorted(folder.glob("[0-9]*.md"))
    assert [path.name[:4] for path in records] == [f"{number:04d}" for number in range(1, len(records) + 1)]
    for path in records:
        text = path.read_text()
        number, _, title = text.partition("\n")[0].removeprefix("# ").partition(" ")
        if successor := re.search(r"(?m)^Status: superseded by (\[\d{4}\]\([\w-]+\.md\))$", text):
            row = f"| [{number}]({path.name}) | {title.removeprefix('Superseded: ')} | {successor[1]} |"
            assert title.startswith("Superseded: ")
            assert (superseded.count(row), in_force.count(f"]({path.name})")) == (1, 0)
        else:
            assert not title.startswith("Superseded")
            row = f"| [{number}]({path.name}) | {title} |\n"
            assert (in_force.count(row), superseded.count(f"\n| [{number}]")) == (1, 0)


def test_every_page_of_evidence_names_command_commit_and_date() -> None:
    """Figures belong to a commit; the index lists each page."""
    folder = ROOT / "docs" / "evidence"
    index = (folder / "README.md").read_text()
    row = re.compile(r"(?m)^\| (?:`.+`|no command).* \| [0-9a-f]{7,8}\b.* \| \d{4}-\d\d-\d\d")
    for path in folder.glob("*.md"):
        if path.name != "README.md":
            head = path.read_text().partition("\n## ")[0]
            assert "| command | commit | date |" in head, path.name
            assert row.search(head), path.name
            assert f"]({path.name})" in index


def texts() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each file of code and documents."""
    for top in ("app", "sandbox", "dev", "migrations", "docs"):
        for path in (ROOT / top).rglob("*"):
            if path.suffix in {".py", ".md"}:
                yield path.relative_to(ROOT).as_posix(), path.read_text()
    yield "CONTRIBUTING.md", (ROOT / "CONTRIBUTING.md").read_text()


def test_a_decision_that_is_named_exists() -> None:
    """Code and documents name decisions by number."""
    numbers = {path.name[:4] for path in (ROOT / "docs" / "adr").glob("[0-9]*.md")}
    named = {
        (path, number) for path, text in texts() for number in re.findall(r"(?:ADR |adr/)([0-9]{4})", text)
    }
    assert {(path, number) for path, number in named if number not in numbers} == set()


def test_a_file_that_is_named_exists() -> None:
    """A path between backticks leads somewhere; the evidence describes earlier commits too."""
    named = {
        (path, name)
        for path, text in texts()
        if not path.startswith("docs/evidence/")
        for name in re.findall(r"`((?:app|sandbox|dev|tests|campaigns|bench|migrations)/[\w/.-]+)`", text)
    }
    assert {(path, name) for path, name in named if not (ROOT / name).exists()} == set()


def test_no_file_holds_a_conflict_of_a_merge() -> None:
    """Markers of a conflict within a text, such as a statement, are valid Python."""
    folders = [
        ROOT / name
        for name in ("app", "sandbox", "dev", "bench", "migrations", "tests", "campaigns", "docs", "deploy")
    ]
    marked = [
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in {".py", ".md", ".html", ".css", ".js", ".yml"}
        and re.search(r"(?m)^(<{7}|>{7}) ", path.read_text())
    ]
    assert marked == []


def test_names_that_contributing_places_in_a_module_are_there() -> None:
    """A recipe that says "`NAME` in `app/module.py`" is changed with the name."""
    placed = re.findall(
        r"`([A-Za-z_]\w*)` in `((?:app|dev|sandbox|tests|campaigns)/[\w/]+\.py)`",
        (ROOT / "CONTRIBUTING.md").read_text(),
    )
    assert len(placed) > 15
    assert [(name, path) for name, path in placed if name not in (ROOT / path).read_text()] == []


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
    named = re.findall(r"`([A-Z_]+)` \((\d+)\)", (ROOT / "docs" / "retention.md").read_text())
    assert len(named) == 5
    assert [
        (name, number) for name, number in named if Settings.model_fields[name.lower()].default != int(number)
    ] == []


def test_every_outcome_of_an_attempt_is_explained() -> None:
    """In the table of the API page, to which the metrics refer too."""
    page = (ROOT / "docs" / "api.md").read_text()
    _, _, table = page.partition("| `outcome` | response of Amazon |\n|---|---|\n")
    rows, _, _ = table.partition("\n\n")
    explained = [name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", row.split(" | ")[0])]
    assert sorted(explained) == sorted([*OUTCOMES.values(), "under_way"])


def test_every_table_is_listed_with_the_rights_that_are_granted() -> None:
    """A test of the store compares `TABLES` with the schema."""
    granted = {table: (letters(rights.api), letters(rights.worker)) for table, rights in TABLES.items()}
    assert {table: (api, worker) for table, (*_, api, worker) in rows().items()} == granted


def test_every_named_test_exists() -> None:
    """A test that is renamed or deleted is renamed or replaced there."""
    page = (ROOT / "docs" / "evidence" / "defects-of-d507e34a.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"(?m)^\s*(?:async )?def {name}\(", (ROOT / path).read_text())
    ]
    assert missing == []
    assert len(named) > 100


PAGE = (ROOT / "docs" / "rules.md").read_text()
FOLDERS = ("app", "sandbox", "dev", "tests", "bench", "campaigns", "migrations")
RULES = set(re.findall(r"(?m)^\| ([PR]\d+|(?:contract|interface) §[\d.]+) \|", PAGE))
LABELS = {
    label
    for cell in re.findall(r"(?m)^\| ([A-Z0-9-]{2,}(?:, [A-Z0-9-]{2,})*) \| ", PAGE)
    for label in cell.split(", ")
}
RULE = re.compile(r"\b[PR](?:[1-9]|1\d)\b")
SOURCE = re.compile(r"(RFC \d+|OpenID Connect[\w -]*|contract|interface)(?:'s)?\s+(?=§)", re.IGNORECASE)
SECTION = re.compile(r"§\s?(\d+(?:\.\d+)*)")
CASE = re.compile(r'"((?:[A-Z][A-Z0-9-]+, )*[A-Z][A-Z0-9-]+) (\d[\d., ]*)"')


def citations(text: str) -> Iterator[str]:
    """Yield each cited rule; a section without the name of its document has the name `?`."""
    yield from RULE.findall(text)
    joined = re.sub(r"\s*\n\s*(?:#\s*)?", " ", text)
    for found in SECTION.finditer(joined):
        sources = SOURCE.findall(joined[max(0, found.start() - 60) : found.start() + 1])
        name = sources[-1].lower() if sources else "?"
        if not name.startswith(("rfc", "openid")):
            yield f"{name} §{found[1]}"


def cited() -> dict[str, set[str]]:
    """Return the files of each cited rule."""
    files: dict[str, set[str]] = {}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".toml", ".sql", ".html", ".yml"} and path != Path(__file__):
                for rule in citations(path.read_text()):
                    files.setdefault(rule, set()).add(path.relative_to(ROOT).as_posix())
    return files


def test_every_cited_rule_is_on_the_page() -> None:
    """A number that cannot be looked up justifies nothing."""
    assert {rule: files for rule, files in cited().items() if rule not in RULES} == {}


def test_the_citations_of_documents_are_on_the_page() -> None:
    """The documents cite the same numbers."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        unknown = {rule for rule in RULE.findall(path.read_text()) if rule not in RULES}
        assert unknown == set(), path


def test_every_source_of_a_conformance_case_is_on_the_page() -> None:
    """A case names labels of sources and sections of the contract."""
    found = [
        case
        for path in (ROOT / "sandbox" / "conformance").rglob("*.py")
        for case in CASE.findall(path.read_text())
    ]
    assert len(found) > 80
    labels = {label for names, _ in found for label in names.split(", ")}
    sections = {number for _, numbers in found for number in re.findall(r"\d[\d.]*", numbers)}
    assert labels - LABELS - RULES == set()
    assert {f"contract §{number}" for number in sections} - RULES == set()


def test_the_places_cite_their_rule() -> None:
    """A row names a file that cites the rule, where any file of the program cites it."""
    used = cited()
    wrong = []
    for rule, places in re.findall(r"(?m)^\| ([PR]\d+|(?:contract|interface) §[\d.]+) \|(.*)\|$", PAGE):
        files = {
            file
            for file in used.get(rule, ())
            if file.startswith(("app/", "sandbox/")) and "conformance" not in file
        }
        if files and not files & set(re.findall(r"`([\w/.]+)`", places)):
            wrong.append((rule, sorted(files)))
    assert wrong == []


NAMES = {command.name for command in COMMANDS}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every command of ours in a block of the documents, with its words."""
    for path in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in re.findall(r"(?ms)^ *```\w*\n(.*?)^ *```", path.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                found = re.match(r"\s*(?:\./run|python -m app) (.+)", re.sub(r"\s+#.*| [<|>].*", "", line))
                if found and not re.search(r"[…\[]", found[1]) and found[1].split()[0] in NAMES:
                    yield path.name, shlex.split(found[1])


@pytest.mark.parametrize(("page", "words"), list(commands()))
def test_a_command_in_the_documents_is_understood(page: str, words: list[str]) -> None:
    """Name and options exist; a renamed option is renamed in the documents."""
    del page
    _, unknown = _parser(words).parse_known_args(words)
    assert words[0] in {"test", "bench"} or not unknown


def shell_blocks(page: str) -> list[str]:
    """Return the blocks of a page that are marked to run."""
    text = (ROOT / page).read_text()
    return [re.sub(r"(?m)^   ", "", block) for block in re.findall(r"(?ms)^ *```sh\n(.*?)^ *```", text)]


@pytest.mark.process
async def test_the_blocks_of_the_readme_and_the_journey_node_run(database_url: str) -> None:
    """Send an event; create a key, send another, read its history: as written, against a running API."""
    async with served_world(database_url) as (world, port):
        known = {
            "PATH": "/usr/bin:/bin", "API": f"http://127.0.0.1:{port}", "ADMIN_KEY": ADMIN, "KEY": ADMIN,
            "DESTINATION": await world.destination(), "NOW": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }  # fmt: skip
        answer = re.findall(r"(?ms)^```json\n(.*?)^```", (ROOT / "README.md").read_text())[0].strip()
        expected = (answer, '"scopes"', '"accepted":1', '"status":"queued"')
        blocks = [*shell_blocks("README.md"), *shell_blocks("docs/journey-node.md")]
        for block, words in zip(blocks, expected, strict=True):
            response = await _run(block, known)
            assert words in response.replace(": ", ":"), response


async def _run(block: str, known: dict[str, str]) -> str:
    child = await asyncio.create_subprocess_shell(
        block, env=known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await child.communicate()
    return output.decode()
