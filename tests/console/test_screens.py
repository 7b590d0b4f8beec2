"""The ten pictures of the documents: there, small, and shown."""

from pathlib import Path

import pytest

from tests.console.screens import LARGEST, SCREENS, TEN

ROOT = Path(__file__).resolve().parents[2]


def test_there_are_ten_and_no_other() -> None:
    """A change of the list requires new screenshots."""
    assert sorted(one.name for one in SCREENS.iterdir()) == sorted(f"{name}.webp" for name, *_ in TEN)
    assert len(TEN) == 10


@pytest.mark.parametrize("name", [name for name, *_ in TEN])
def test_each_screenshot_is_small_and_used(name: str) -> None:
    """In the console's own document."""
    taken = (SCREENS / f"{name}.webp").read_bytes()
    assert taken[:4] == b"RIFF"
    assert taken[8:12] == b"WEBP"
    assert len(taken) <= LARGEST
    assert f"screens/{name}.webp" in (ROOT / "docs" / "console.md").read_text()
