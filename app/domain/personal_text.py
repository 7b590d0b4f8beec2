"""Whether a text that is stored and shown to other people holds an email address or a phone number. Pure.

Names and addresses look like any other text: only these two are recognised. A phone number is one with a plus
sign, since digits alone are also order numbers and advertiser ids.
"""

import re
from typing import Final

# `@`, its full-width and small forms, and its URL encoding.
_AT_SIGNS: Final = re.compile("@|\N{FULLWIDTH COMMERCIAL AT}|\N{SMALL COMMERCIAL AT}|%40")
_EMAIL: Final = re.compile(rf"[^\s@](?:{_AT_SIGNS.pattern})[^\s@]+\.[^\s@.]")
_DIGITS: Final = "[+\N{FULLWIDTH PLUS SIGN}]" + r"(?:[\s().\-/]*[0-9]){8,15}"
_PHONE_NUMBER: Final = re.compile(rf"(?<!\w){_DIGITS}(?!\w)")
# Also as an address, such as `tel:+12065550142`.
_ONLY_A_PHONE_NUMBER: Final = re.compile(rf"(?:[A-Za-z]{{2,10}}:)?{_DIGITS}[\s().\-/]*")


def holds_personal_text(text: str) -> bool:
    """Return whether a name or note holds an email address or a phone number anywhere."""
    return _EMAIL.search(text) is not None or _PHONE_NUMBER.search(text) is not None


def is_personal_id(text: str) -> bool:
    """Return whether an id has an at sign, or is a phone number: a plus sign and 8 to 15 digits.

    A mobile advertising id looks like a random UUID, the usual form of an id, so it is accepted.
    """
    return _AT_SIGNS.search(text) is not None or _ONLY_A_PHONE_NUMBER.fullmatch(text) is not None
