"""Every rule that the code cites by number is on docs/rules.md, with a place that exists."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
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
