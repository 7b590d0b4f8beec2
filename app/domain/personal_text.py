"""Detect an email address or a phone number in a text that is stored and shown, such as a name or an id.

Only phone numbers with a plus sign are detected, because digits alone can also be order numbers or advertiser
ids. Names and postal addresses cannot be detected: they look like any other text.
"""

import re
from typing import Final

# `@`, its full-width form, its small form, and its URL encoding.
_AT_SIGNS: Final = re.compile("@|\N{FULLWIDTH COMMERCIAL AT}|\N{SMALL COMMERCIAL AT}|%40")
_EMAIL: Final = re.compile(rf"[^\s@](?:{_AT_SIGNS.pattern})[^\s@]+\.[^\s@.]")
_DIGITS: Final = "[+\N{FULLWIDTH PLUS SIGN}]" + r"(?:[\s().\-/]*[0-9]){8,15}"
_PHONE_NUMBER: Final = re.compile(rf"(?<!\w){_DIGITS}(?!\w)")
# With or without a URL scheme, such as `tel:+12065550142`.
_ONLY_A_PHONE_NUMBER: Final = re.compile(rf"(?:[A-Za-z]{{2,10}}:)?{_DIGITS}[\s().\-/]*")


def holds_personal_text(text: str) -> bool:
    """Return whether a name or note contains an email address or a phone number."""
    return _EMAIL.search(text) is not None or _PHONE_NUMBER.search(text) is not None


def is_personal_id(text: str) -> bool:
    """Return whether an id contains an at sign, or is a phone number: a plus sign and 8 to 15 digits.

    Mobile advertising ids are not detected: like many other ids, they are random UUIDs.
    """
    return _AT_SIGNS.search(text) is not None or _ONLY_A_PHONE_NUMBER.fullmatch(text) is not None
