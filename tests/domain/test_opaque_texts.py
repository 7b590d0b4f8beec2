"""Ids and cursors in responses: equal numbers have equal texts, and no text tells its number."""

import base64

import pytest

from app.crypto import CannotDecrypt, OpaqueTexts

TEXTS = OpaqueTexts(b"secret of an installation")


@pytest.mark.parametrize("plain", ["0", "7", "9223372036854775807", "2026-11-29T07:00:00+00:00 key_1"])
def test_a_text_is_stable_and_is_read_again(plain: str) -> None:
    """An id is the same in every response, also of another process."""
    text = TEXTS.seal(plain, kind="att")
    assert text == OpaqueTexts(b"secret of an installation").seal(plain, kind="att")
    assert text.startswith("att_")
    assert TEXTS.open(text, kind="att") == plain


def test_texts_of_neighbours_have_nothing_in_common() -> None:
    """Neither the numbers nor their distance are in the texts, and another installation has other texts."""
    texts = [TEXTS.seal(number, kind="aud") for number in range(1000, 1100)]
    assert len(set(texts)) == 100
    assert texts != sorted(texts)
    decoded = [base64.urlsafe_b64decode(text.removeprefix("aud_") + "==") for text in texts]
    assert len({one[:4] for one in decoded}) == len({one[-4:] for one in decoded}) == 100
    assert not any(str(1000 + n).encode() in one for n, one in enumerate(decoded))
    assert not set(texts) & {OpaqueTexts(b"another").seal(number, kind="aud") for number in range(1000, 1100)}


def test_a_text_that_is_not_ours_is_refused() -> None:
    """Altered, of another kind, of another installation, or invented."""
    text = TEXTS.seal(7, kind="cur")
    invented = [
        "",
        "cur_",
        "cur_7",
        "7",
        "Nw",
        "é",
        "cur_" + "A" * 24,
        text[:-1],
        text.removeprefix("cur_"),
        f"{text}A",
        text.swapcase(),
    ]
    for wrong in [*invented, TEXTS.seal(7, kind="att"), OpaqueTexts(b"another").seal(7, kind="cur")]:
        with pytest.raises(CannotDecrypt):
            TEXTS.open(wrong, kind="cur")
