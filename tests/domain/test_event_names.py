"""New event names have only characters that people type."""

import pytest

from app.domain.mapping.event_name import event_name_problem, unintended_name_problem


@pytest.mark.parametrize(
    ("name", "is_intended"),
    [
        pytest.param("a\ufffdb", False, id="a broken encoding"),
        pytest.param("Added\u00a0to cart", False, id="a no-break space"),
        pytest.param("Added\u2009to cart", False, id="a thin space"),
        pytest.param("\u0421art", False, id="a Cyrillic letter among Latin ones"),
        pytest.param("C\u03bfrt", False, id="a Greek letter among Latin ones"),
        pytest.param("\u0555rder", False, id="an Armenian letter among Latin ones"),
        pytest.param("\ufb01ne", False, id="a ligature"),
        pytest.param("\uff21dded", False, id="a full-width letter"),
        pytest.param("\U0001d400dded", False, id="a mathematical letter"),
        pytest.param("\u041a\u043e\u0440\u0437\u0438\u043d\u0430 Amazon", True, id="words of two alphabets"),
        pytest.param("\u03b2-Test", True, id="a Greek letter that is a word"),
        pytest.param("1\u00aa compra", True, id="an ordinal"),
        pytest.param("Al\u0131\u015fveri\u015f", True, id="Turkish"),
        pytest.param("Gr\u00f6\u00dfe", True, id="German"),
        pytest.param("\u30ab\u30fc\u30c8\u3000\u8ffd\u52a0", True, id="the space of a Japanese keyboard"),
        pytest.param("Prime\u2122 sign-up", True, id="a trade mark"),
    ],
)
def test_a_name_that_its_author_cannot_have_meant(name: str, is_intended: bool) -> None:
    """All of these are valid: a name that is pinned stays usable."""
    assert event_name_problem(name) is None
    assert (unintended_name_problem(name) is None) is is_intended
