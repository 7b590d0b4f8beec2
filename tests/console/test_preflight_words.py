"""The preflight on its page: every line has a label, and people's lines can be confirmed and taken back."""

import re
from types import SimpleNamespace
from typing import Any

from app.admin.destinations.preflight import MANUAL_CHECKS, run_preflight
from app.console.pages import TEMPLATES
from tests.api.test_preflight import TERMS, known

BITS: Any = TEMPLATES.get_template("check_bits.html").module


def test_every_line_has_a_label_and_no_label_is_left_over() -> None:
    """In people's words, and for each who can mend it."""
    checks = run_preflight(known())
    assert [check.name for check in checks] == list(BITS.labels)
    for check in checks:
        line = str(BITS.line(check, True))
        assert f"<strong>{BITS.labels[check.name]}</strong>" in line
        assert ("Owner: " in line) == (check.status != "ok")


def buttons(**facts: Any) -> dict[str, str]:
    """Return what the button of each check does, for those that have one."""
    visitor = SimpleNamespace(csrf="token")
    pages = {
        check.name: str(BITS.confirmation(check, "/here", visitor)) for check in run_preflight(known(**facts))
    }
    return {name: found[1] for name, page in pages.items() if (found := re.search(r">(\w+)</button>", page))}


def test_manual_checks_are_confirmed_and_withdrawn() -> None:
    """Only these lines, and only one of the two at a time."""
    assert buttons() == dict.fromkeys(MANUAL_CHECKS, "Confirm")
    assert buttons(confirmed=TERMS) == {"permission": "Confirm", "terms": "Withdraw"}
