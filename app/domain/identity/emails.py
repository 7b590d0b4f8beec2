"""Normalise e-mail addresses: keep the characters that Amazon keeps, and check that an address remains."""

import re
from typing import Final

from app.domain.identity.keys import DroppedKey, DropReason
from app.domain.identity.letters import keep_composed
from app.domain.identity.placeholders import is_placeholder_or_digest

# Source: RFC 5321, 4.5.3.1.3. It allows 256 octets with the two brackets around the address.
LONGEST: Final = 254

_kept = keep_composed("a-z0-9.@-")

# One `@`, with at least one letter or digit on each side.
_ADDRESS: Final = re.compile(r"[.-]*[a-z0-9][a-z0-9.-]*@[.-]*[a-z0-9][a-z0-9.-]*")


def amazon_email(text: str, country: str) -> str | DroppedKey:
    """Convert an address to lower case and keep only `a-z 0-9 . @ -`; drop the trait if no address remains.

    Letters with accents and of other scripts are removed, as Amazon's schema requires. Source: P8, P9.
    """
    plain = text.strip().lower()
    # Fast path: most addresses are already normalised, and a placeholder does not match.
    if len(plain) <= LONGEST and _ADDRESS.fullmatch(plain):
        return plain
    if dropped := is_placeholder_or_digest(text):
        return dropped
    address = _kept(text)
    if not address:
        return DroppedKey(DropReason.EMPTY)
    if len(address) > LONGEST or not _ADDRESS.fullmatch(address):
        return DroppedKey(DropReason.NOT_AN_EMAIL)
    return address
