"""The preflight on its page: every line has a label."""

from typing import Any

from app.admin.destinations.preflight import run_preflight
from app.console.pages import TEMPLATES
from tests.api.test_preflight import known

BITS: Any = TEMPLATES.get_template("check_bits.html").module


def test_every_line_has_a_label_and_no_label_is_left_over() -> None:
    """In people's words, and for each who can mend it."""
    checks = run_preflight(known())
    assert [check.name for check in checks] == list(BITS.labels)
    for check in checks:
        line = str(BITS.line(check, True))
        assert f"<strong>{BITS.labels[check.name]}</strong>" in line
        assert ("Owner: " in line) == (check.status != "ok")
