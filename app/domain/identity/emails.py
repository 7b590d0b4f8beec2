"""E-mail addresses: keep the characters that Amazon keeps and check that an address remains."""

import re
from typing import Final

from app.domain.identity.keys import DroppedKey, DropReason
from app.domain.identity.letters import keep_composed
from app.domain.identity.placeholders import is_placeholder_or_digest

# Source: RFC 5321, 4.5.3.1.3: a path of 256 octets, two of them brackets.
LONGEST: Final = 254

_kept = keep_composed("a-z0-9.@-")

# One `@` with a letter or digit on either side.
_ADDRESS: Final = re.compile(r"[.-]*[a-z0-9][a-z0-9.-]*@[.-]*[a-z0-9][a-z0-9.-]*")


def amazon_email(text: str, country: str) -> str | DroppedKey:
    """Lower-case an address and keep only `a-z 0-9 . @ -`; report a drop reason when no address remains.

    A second `@`, an empty side, or more than 254 characters are not an address. Letters of other scripts are
    dropped like punctuation, in the local part and in the domain. Source: Amazon's schema; P8, P9.
    """
    plain = text.strip().lower()
    # Fast exit: most addresses are already normalised, and such a text is not a placeholder.
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
