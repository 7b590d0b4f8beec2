"""The preflight on its page: every line has a label, and people's lines can be confirmed and taken back."""

from app.admin.destinations.preflight import run_preflight
from app.console.destinations.setup_view import LABELS, check_views
from tests.api.test_preflight import TERMS, known


def views(**facts: object) -> dict[str, object]:
    checks = run_preflight(known(**facts))  # type: ignore[arg-type]
    return {line.name: line for line in check_views(checks)}


def test_every_line_has_a_label_and_no_label_is_left_over() -> None:
    """In people's words, and for each who can mend it."""
    assert list(views()) == list(LABELS)


def test_manual_checks_are_confirmed_and_withdrawn() -> None:
    """Only these lines, and only one of the two at a time."""
    before, after = views(), views(confirmed=TERMS)
    assert [name for name, line in before.items() if line.may_confirm] == ["permission", "terms"]  # type: ignore[attr-defined]
    assert [name for name, line in after.items() if line.may_confirm] == ["permission"]  # type: ignore[attr-defined]
    assert [name for name, line in after.items() if line.may_withdraw] == ["terms"]  # type: ignore[attr-defined]
