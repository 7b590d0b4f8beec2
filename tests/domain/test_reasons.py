"""The vocabulary of failures: one table, and a page that says the same."""

from pathlib import Path

from app.console.mappings.view import WARNING_SENTENCES
from app.domain.outcomes.reasons import REASONS, WARNINGS, JourneyCode

PAGE = (Path(__file__).parents[2] / "docs" / "reasons.md").read_text()


def test_the_page_has_no_other_words() -> None:
    """What is gone from the table is gone from the page."""
    rows = [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted([*JourneyCode, *REASONS, *WARNINGS, *WARNING_SENTENCES])


def test_every_code_is_one_of_the_journeys_nine() -> None:
    """The canvas knows no tenth."""
    assert len(JourneyCode) == 9
    assert {row.code for row in REASONS.values()} <= set(JourneyCode)
