"""The pictures of the documents: there, small, and shown."""

from pathlib import Path

import pytest

from tests.console.screens import LARGEST, PICTURES, SCREENS

ROOT = Path(__file__).resolve().parents[2]


def test_there_are_these_and_no_other() -> None:
    """A change of the list requires new screenshots."""
    assert sorted(one.name for one in SCREENS.iterdir()) == sorted(f"{name}.webp" for name, *_ in PICTURES)


@pytest.mark.parametrize("name", [name for name, *_ in PICTURES])
def test_each_screenshot_is_small_and_used(name: str) -> None:
    """In the console's own document, or in the page about match quality."""
    taken = (SCREENS / f"{name}.webp").read_bytes()
    assert taken[:4] == b"RIFF"
    assert taken[8:12] == b"WEBP"
    assert len(taken) <= LARGEST
    pages = (ROOT / "docs" / page for page in ("console.md", "why-fewer.md"))
    assert any(f"screens/{name}.webp" in page.read_text() for page in pages)
