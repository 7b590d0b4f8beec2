"""Every audit action has a sentence, and every sentence belongs to an action."""

from app.console.audit.view import SENTENCES, sentence
from app.store.audit import AuditAction


def test_every_action_has_a_sentence_and_no_sentence_is_left_over() -> None:
    """The filter offers only actions that exist."""
    assert set(SENTENCES) == set(AuditAction)
    assert all(SENTENCES.values())


def test_an_unknown_action_keeps_its_word() -> None:
    """Rows outlive releases: an unknown action is shown, not dropped."""
    assert sentence("key.lent_out") == "key: lent out"
