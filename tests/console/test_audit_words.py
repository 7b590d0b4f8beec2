"""Every audit action has a sentence, and every sentence belongs to an action."""

import pytest

from app.console.audit.view import SENTENCES, sentence
from app.store.audit import AuditAction


@pytest.mark.parametrize("action", list(AuditAction))
def test_every_action_has_a_sentence(action: AuditAction) -> None:
    """A sentence, not the machine word."""
    assert action in SENTENCES, f"add {action} to audit_view.SENTENCES"
    assert "." not in sentence(action)


def test_no_sentence_is_left_of_a_removed_action() -> None:
    """The filter offers only actions that exist."""
    assert set(SENTENCES) == set(AuditAction)


def test_an_unknown_action_keeps_its_word() -> None:
    """Rows outlive releases: an unknown action is shown, not dropped."""
    assert sentence("key.lent_out") == "key: lent out"
