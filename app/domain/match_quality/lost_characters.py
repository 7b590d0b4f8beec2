"""Values that lose characters when they are normalised for Amazon: other systems hash them differently."""

import re
from collections.abc import Callable, Mapping
from typing import Final

_EMAIL: Final = re.compile(r"[a-z0-9.@-]*")


def _is_shortened_address(text: str) -> bool:
    return "@" in text and not _EMAIL.fullmatch(text.strip().lower())


def _has_foreign_letter(text: str) -> bool:
    return not text.isascii() and any(char.isalpha() and not char.isascii() for char in text)


LOSES_CHARACTERS: Final[Mapping[str, Callable[[str], bool]]] = {
    "email": _is_shortened_address,
    **dict.fromkeys(("first_name", "last_name", "address", "city"), _has_foreign_letter),
}
"""For each field whether a text holds letters or signs that Amazon's rules remove or replace."""
