"""What the site's search knows: sections, rows of tables, and words that mean the same."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from markdown.extensions.toc import slugify  # type: ignore[import-untyped]

Entry = dict[str, Any]
"""A place of the site: `location`, `title`, `text`, `boost` (a factor of its score), questions (`asked`)."""

# Readers look for guides and reference first; records of decisions and measurements are seldom the answer.
_BOOSTS: Final = {
    "adr/": 0.3, "evidence/": 0.2, "reference/": 0.6, "reference/schemas": 0.2, "index.html": 0.3,
    "project/third_party_notices": 0.1, "project/changelog": 0.3, "rules.html": 0.4,
    "project/contributing": 0.5, "releasing": 0.5, "campaigns": 0.5, "amazon-cases": 0.5, "architecture": 0.8,
}  # fmt: skip

SYNONYMS: Final = tuple(
    group.split() for group in Path(__file__).with_name("synonyms.txt").read_text().splitlines()
)
"""Words of readers and of the documents: a search for one of a group finds the others, with less weight."""

ROW_MARKS: Final = "\ue000\ue001\ue002\ue003"
"""In a text: the start of a row, the end of its first cell, the end of a row, the start of a header."""
_SHORT: Final = 3_000  # characters
_ROW: Final = 0.5  # the boost of a row: its few words must not hide the section that explains them

_TABLES_OF_WORDS: Final = {"glossary.html", "retention.html", "threat-model.html"}

_ALERTS = re.compile(r"(?:Alert|Incident)s?: ([\w, ]+)")
_HEADING = re.compile(r"(?m)^#{1,3} (.+)$")
_ROW_OF_CODE = re.compile(r"\| (`[^|]+`[^|]*) \| (.+) \|")
_ROW_OF_WORDS = re.compile(r"\| ([^|`-][^|]*) \| (.+) \|")
_FENCE = re.compile(r"(?ms)^ *```.*?^ *```$")


def improved(entries: list[Entry], pages: Mapping[str, str]) -> list[Entry]:
    """Return the entries of MkDocs' index with titles that name the page, each text once, and rows of tables.

    `pages` has the Markdown of each page by its path. A short page is one entry, a long one an entry for each
    section.
    """
    whole = {entry["location"]: entry for entry in entries if "#" not in entry["location"]}
    short = {location for location, entry in whole.items() if len(entry["text"]) < _SHORT}
    sections = [
        {**entry, "title": _title(entry["title"], whole[page]["title"])}
        for entry in entries
        if "#" in entry["location"] and (page := entry["location"].partition("#")[0]) not in short
    ]
    found = [
        *(_with_alerts(whole[location]) for location in sorted(short)),
        *sections,
        *(row for path, text in pages.items() for row in rows(path, text)),
    ]
    complete = [
        {"boost": _boost(entry["location"]), **entry, "text": entry["text"].replace(" ¶", ":")}
        for entry in found
    ]
    _add_questions(complete, {entry["location"] for entry in entries})
    return complete


def _add_questions(places: list[Entry], known: set[str]) -> None:
    """Add the questions of asked.txt to their places, or to the page of a place that has no entry."""
    first: dict[str, Entry] = {}
    for place in places:
        first.setdefault(place["location"], place)
        first.setdefault(place["location"].partition("#")[0], place)
    for line in Path(__file__).with_name("asked.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            location, _, questions = line.partition(": ")
            if location not in known:
                raise ValueError(f"asked.txt: the site has no place {location}")
            place = first.get(location) or first[location.partition("#")[0]]
            place.setdefault("asked", []).extend(questions.split("; "))


def rows(path: str, text: str) -> Iterator[Entry]:
    """Yield an entry for each row of a table that begins with code, such as a setting or a reason.

    Of some pages, rows that begin with words are entries instead.
    """
    page = re.sub(r"(^|/)README\.md$", r"\1index.md", path).removesuffix(".md") + ".html"
    if _boost(page) < 1:
        return
    row = _ROW_OF_WORDS if page in _TABLES_OF_WORDS else _ROW_OF_CODE
    boost = 1 if page == "glossary.html" else _ROW
    anchor = ""
    for line in _FENCE.sub("", text).splitlines():
        if heading := _HEADING.match(line):
            anchor = slugify(re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", heading[1]), "-")
        elif found := row.fullmatch(line):
            plain = re.sub(r"\]\([^)]*\)|[`\[]", "", found[1]), re.sub(r"\]\([^)]*\)|[`\[]", "", found[2])
            yield {"location": f"{page}#{anchor}", "title": plain[0], "text": " ".join(plain), "boost": boost}


def _title(section: str, page: str) -> str:
    return section if section == page else f"{section} · {page}"


def _with_alerts(entry: Entry) -> Entry:
    """Return the entry of a page; that of a runbook has the names and words of its alerts and incidents."""
    if not entry["location"].startswith("runbooks/"):
        return entry
    names = [name for found in _ALERTS.findall(entry["text"]) for name in re.findall(r"\w+", found)]
    words = [re.sub("(?<!^)(?=[A-Z])|_", " ", name).lower() for name in names]
    return {**entry, "asked": [*names, *words]}


def _boost(location: str) -> float:
    matching = [prefix for prefix in _BOOSTS if location.startswith(prefix)]
    return _BOOSTS[max(matching, key=len)] if matching else 1.0
