"""The audit in words: whatever can be recorded is told in a sentence, and what is told can be recorded."""

import pytest

from app.console.audit_view import ACTS, sentence
from app.store.audit import AuditAction


@pytest.mark.parametrize("action", list(AuditAction))
def test_every_act_has_a_sentence(action: AuditAction) -> None:
    """Not the act's own word, which is for machines."""
    assert action in ACTS, f"say in present_audit.ACTS what {action} did"
    assert "." not in sentence(action)


def test_no_sentence_is_left_of_an_act_that_is_gone() -> None:
    """The list that the page offers holds acts that can be found."""
    assert set(ACTS) == set(AuditAction)


def test_an_act_of_another_version_keeps_its_word() -> None:
    """Rows outlive releases: an unknown one is shown, not dropped."""
    assert sentence("key.lent_out") == "key: lent out"
