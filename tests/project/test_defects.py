"""docs/evidence/defects-of-d507e34a.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


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
