"""The short form of `./run campaign fuzzing`: each line of the corpora and a few thousand changes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.attacks import fuzzing
from campaigns.attacks.fuzzing import TARGETS, Finding, check, fuzz, seeds
from tests.tables import cases


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_refuses_in_declared_words_and_in_time(name: str) -> None:
    """Nothing raises, nothing hangs, nothing shows a person's value."""
    assert fuzz(name, 2000, seed=1) == []


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Bodies and replies that no corpus holds."""
    check("json", body)
    check("replies", body)


@given(st.text(st.characters(exclude_categories=()), max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Paths and traits, halves of surrogate pairs included."""
    check("paths", text)
    check("traits", text)


@cases(
    ("reads", "finding"),
    {
        "raises": (lambda value: value[3], "raised IndexError"),
        "leaks": (lambda value: fuzzing._no_person("ada@example.com"), "a person's value"),
    },
)
def test_a_broken_reader_is_found(monkeypatch: pytest.MonkeyPatch, reads: Any, finding: str) -> None:
    """The fuzzer itself is tested with readers that break its laws."""
    monkeypatch.setitem(TARGETS, "json", reads)
    with pytest.raises(Finding, match=finding):
        check("json", b"{}")
    assert len(seeds("json")) > 40
