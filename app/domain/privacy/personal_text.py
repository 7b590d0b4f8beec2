"""Detect an email address or an international phone number in a text that is sent, stored or shown in clear.

Digits alone are never a phone number, because they can also be order numbers or advertiser ids. Names and
postal addresses cannot be detected: they look like any other text. Source: interface §4.5.
"""

import re
from typing import Final
from urllib.parse import unquote

from app.domain.privacy.normal_forms import compatible

_EMAIL: Final = r"[^\s@]@[^\s@]+\.[^\s@.]"
_HYPHENS: Final = r"\u2010-\u2015\u2212-"  # a phone copied from a page may have others than that of ASCII
_PHONE: Final = rf"\+(?:[\s().{_HYPHENS}]*[0-9]){{8,15}}(?![0-9])"
_SCHEMES: Final = r"mailto:|tel:[0-9+]"
_PERSONAL: Final = re.compile(f"{_EMAIL}|{_PHONE}|{_SCHEMES}", re.IGNORECASE | re.ASCII)
_DECODED_TIMES: Final = 2
_ONLY_A_PHONE_NUMBER: Final = re.compile(
    rf"(?:[A-Za-z]{{2,10}}:)?\+(?:[\s()./{_HYPHENS}]*[0-9]){{8,15}}[\s()./{_HYPHENS}]*"
)


def holds_personal_text(text: str) -> bool:
    """Return whether a text contains an email address or an international phone number.

    The text is searched as it is, percent-decoded once and twice, and each of them normalised (NFKC).
    """
    if _is_plain(text):
        return False
    for _ in range(_DECODED_TIMES):
        normal = compatible(text)
        if _is_found(text) or (normal is not text and _is_found(normal)):
            return True
        if "%" not in normal:
            return False
        text = unquote(normal)
    normal = compatible(text)
    return _is_found(text) or (normal is not text and _is_found(normal))


def _is_plain(text: str) -> bool:
    """Return whether a text lacks the characters without which none of its decoded forms is personal."""
    return text.isascii() and "@" not in text and "+" not in text and "%" not in text and ":" not in text


def _is_found(text: str) -> bool:
    # Looking for characters is faster than the search, in particular in the long texts that NFKC can give.
    return ("@" in text or "+" in text or ":" in text) and _PERSONAL.search(text) is not None


def is_personal_id(text: str) -> bool:
    """Return whether an id contains an at sign, is a phone number, or contains personal text.

    Mobile advertising ids are not detected: like many other ids, they are random UUIDs.
    """
    if _is_plain(text):
        return False
    plain = compatible(text)
    at_sign = "@" in plain or "%40" in plain
    return at_sign or _ONLY_A_PHONE_NUMBER.fullmatch(plain) is not None or holds_personal_text(text)
