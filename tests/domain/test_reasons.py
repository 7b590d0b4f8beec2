"""The vocabulary of failures: one table, and a page that says the same."""

from pathlib import Path

import pytest

from app.domain.codes import REASONS, WARNINGS, Code

PAGE = (Path(__file__).parents[2] / "docs" / "reasons.md").read_text()


@pytest.mark.parametrize("word", REASONS)
def test_every_reason_is_on_the_page_as_in_the_table(word: str) -> None:
    """Word, code and remedy, so that a caller reads what the service knows."""
    row = REASONS[word]
    assert f"| `{row.word}` | {row.code} | {row.remedy} |" in PAGE


@pytest.mark.parametrize("word", WARNINGS)
def test_every_warning_is_on_the_page_as_in_the_table(word: str) -> None:
    """Likewise."""
    assert f"| `{word}` | {WARNINGS[word]} |" in PAGE


def test_the_page_has_no_other_words() -> None:
    """What is gone from the table is gone from the page."""
    rows = [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted([*REASONS, *WARNINGS])


def test_every_code_is_one_of_the_journeys_nine() -> None:
    """The canvas knows no tenth."""
    assert len(Code) == 9
    assert {row.code for row in REASONS.values()} <= set(Code)
