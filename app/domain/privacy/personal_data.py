"""Detect personal data in stored values, by patterns and by canaries.

Patterns cannot detect names and addresses, which look like any other text. A canary can detect them: it is a
known value of a test person, and it is searched for in all its forms. Postgres and Python must read each
pattern in the same way.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from app.domain.batch import MAGIC, expanded

PATTERNS: Final[Mapping[str, str]] = {
    "e-mail address": r"[a-z0-9._%+-]{3,}@[a-z0-9-]{3,}[.][a-z]{2,}",
    # Requires a plus sign, because digits alone can also be advertiser ids and counts. A phone number has at
    # most 15 digits: `+` and 16 digits is a valid event id.
    "phone number": r"(^|[^a-z0-9+/])[+](?![0-9]{16})[1-9][0-9 ().-]{7,14}[0-9]($|[^0-9a-z+/=])",
    # The form of a hashed match key.
    "SHA-256 in hex": r"(^|[^0-9a-f])[0-9a-f]{64}($|[^0-9a-f])",
}
_COMPILED: Final = {name: re.compile(pattern.encode(), re.IGNORECASE) for name, pattern in PATTERNS.items()}


@dataclass(frozen=True, slots=True)
class CanaryForm:
    """One form in which a canary can be stored, as bytes."""

    name: str
    stored: bytes = field(repr=False)


def canary_forms(number: int, value: str) -> list[CanaryForm]:
    """Return the forms of a canary: lower case, encoded, and hashed. `number` becomes part of their names."""
    lower = value.strip().lower()
    clear = lower.encode()
    digest = hashlib.sha256(clear)
    name = f"canary {number}"
    return [
        CanaryForm(name, clear),
        CanaryForm(f"{name}, base64", base64.b64encode(value.strip().encode()).lower()),
        CanaryForm(f"{name}, hex", clear.hex().encode()),
        CanaryForm(f"{name}, SHA-256", digest.digest()),
        CanaryForm(f"{name}, SHA-256 in hex", digest.hexdigest().encode()),
    ]


def found_in(value: bytes, forms: list[CanaryForm]) -> set[str]:
    """Return the names of the patterns and canaries found in a value, decompressed if it is compressed."""
    plain = (expanded(value) if value.startswith(MAGIC) else None) or value
    lower = plain.lower()
    found = {name for name, pattern in _COMPILED.items() if pattern.search(lower)}
    return found | {form.name for form in forms if form.stored in lower or form.stored in plain}
