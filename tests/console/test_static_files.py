"""Vendored files are those that their table names."""

import hashlib
import re

import pytest

from app.console import assets

FOLDER = assets._FOLDER
TABLE = (FOLDER / "VENDORED.md").read_text()
ROWS = re.findall(
    r"^\| `([\w.-]+)` \|.*\| [^|]*`([\w-]+\.LICENSE)` \| `([0-9a-f]{64})` \|$", TABLE, re.MULTILINE
)
OWN = {
    "api_reference.css",
    "api_reference.js",
    "console.css",
    "console.js",
    "icon.svg",
    "interactions.js",
    "noscript.css",
    "theme.js",
}


@pytest.mark.parametrize(("name", "licence", "digest"), ROWS, ids=[row[0] for row in ROWS])
def test_a_vendored_file_is_unchanged_and_has_its_licence(name: str, licence: str, digest: str) -> None:
    """As the package has it."""
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert (FOLDER / licence).is_file()


def test_every_file_is_ours_or_vendored() -> None:
    """A new library gets a row."""
    vendored = {row[0] for row in ROWS}
    assert len(vendored) == 3
    assert set(assets.ASSETS) - vendored >= OWN
    assert {name for name in assets.ASSETS if ".min." in name} <= vendored
