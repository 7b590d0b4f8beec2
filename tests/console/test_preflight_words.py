"""The preflight on its page: every line has a label, and people's lines can be confirmed and taken back."""

from app.admin.preflight import run_preflight
from app.console.setup_view import LABELS, check_views
from tests.api.test_preflight import TERMS, known


def shown(**told: object) -> dict[str, object]:
    checks = run_preflight(known(**told))  # type: ignore[arg-type]
    return {line.name: line for line in check_views(checks)}


def test_every_line_has_a_label_and_no_label_is_left_over() -> None:
    """In people's words, and for each who can mend it."""
    assert list(shown()) == list(LABELS)


def test_what_amazon_cannot_be_asked_is_confirmed_and_taken_back() -> None:
    """Only these lines, and only one of the two at a time."""
    before, after = shown(), shown(confirmed=TERMS)
    assert [name for name, line in before.items() if line.may_confirm] == ["permission", "terms"]  # type: ignore[attr-defined]
    assert [name for name, line in after.items() if line.may_confirm] == ["permission"]  # type: ignore[attr-defined]
    assert [name for name, line in after.items() if line.may_withdraw] == ["terms"]  # type: ignore[attr-defined]
