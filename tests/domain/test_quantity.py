"""Counts in sentences agree with their nouns and verbs."""

import re
from pathlib import Path

import pytest

from app.commands.balance import sentence
from app.domain.balance import MismatchKind
from app.domain.quantity import quantity
from app.settings import ROOT


@pytest.mark.parametrize(
    ("number", "events", "batches"),
    [
        (0, "0 events", "0 batches are"),
        (1, "1 event", "1 batch is"),
        (2000, "2,000 events", "2,000 batches are"),
    ],
)
def test_the_noun_and_the_verb_agree_with_the_count(number: int, events: str, batches: str) -> None:
    assert quantity(number, "event") == events
    assert quantity(number, "batch is", "batches are") == batches


@pytest.mark.parametrize("kind", MismatchKind)
def test_a_mismatch_of_one_is_in_the_singular(kind: MismatchKind) -> None:
    """`1 events are` was written for each kind."""
    mismatch = {"destination_id": "dst_1", "day": None, "events": 1, "kind": kind.value}
    assert re.match(r"dst_1: 1 (event (is|has|differs)|batch is) ", sentence(mismatch))
    assert re.match(r"dst_1: 2 (events (are|have|differ)|batches are) ", sentence({**mismatch, "events": 2}))


TEMPLATES = Path(ROOT, "app", "console", "templates")
_PLURAL = re.compile(
    r"\{\{[^}]*\| (?:number|length) \}\} (?:\w+ )?(?:events|batches|groups|nodes|ids|are|have)\b"
)


def plurals(page: str) -> list[str]:
    """Return the counts of a template that a noun or verb in the plural follows, whatever the count is."""
    return _PLURAL.findall(page)


def test_no_page_has_a_count_with_a_fixed_plural() -> None:
    found = {path.name: found for path in TEMPLATES.iterdir() if (found := plurals(path.read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    ("page", "is_found"),
    [
        ("{{ found | number }} stored batches", True),
        ("{{ all | length }} events have this", True),
        ('{{ found | quantity("stored batch", "stored batches") }} and {{ all | number }} of', False),
    ],
)
def test_a_fixed_plural_is_noticed(page: str, is_found: bool) -> None:
    assert bool(plurals(page)) is is_found


# What is printed outside of attributes: `max` and `value` need the digits alone.
_PRINTED = re.compile(r'(?<!["=])\{\{ ([^}]*) \}\}')
_GROUPED = re.compile(r"\| (?:number|quantity|events|share)\b")
_COUNTS = re.compile(
    "(?:active|batches_scanned|blocked|breakers_open|connections|count|dead|delivered|destinations|erased|"
    "events_per_second|expired|found_total|hidden|lanes|length|max_connections|open_incidents|scanned|"
    "sessions|unreadable|unreadable_batches|waiting)"
)


def ungrouped(page: str) -> list[str]:
    """Return the printed counts of a template whose digits no filter groups."""
    found = [text for text in _PRINTED.findall(page) if not _GROUPED.search(text)]
    names = {text: re.split(r"[.( ]", re.split(r" [-+] | if ", text)[0])[-1] for text in found}
    return [text for text, name in names.items() if _COUNTS.fullmatch(name)]


def test_every_count_of_a_page_has_thousands_separators() -> None:
    found = {path.name: found for path in TEMPLATES.iterdir() if (found := ungrouped(path.read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    ("page", "is_found"),
    [
        ("{{ receipt.batches_scanned }} searched", True),
        ("{{ found | length }} rows", True),
        ("{{ found | length - most }} rows", True),
        ("{{ count }}", True),
        ("{{ limits.destinations if limits.destinations is not none else 0 }}", True),
        ("{{ found.waiting + found.dead }}", True),
        ("{{ found | length | number }} rows", False),
        ('{{ found | length | quantity("row") }}', False),
        ('<progress value="{{ counts.dead }}">', False),
    ],
)
def test_an_ungrouped_count_is_noticed(page: str, is_found: bool) -> None:
    assert bool(ungrouped(page)) is is_found
