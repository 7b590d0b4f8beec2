"""Identifiers that are sent unhashed: advertising ids, partner ids, the advertiser's own ids, IP
addresses.
"""

import ipaddress
import re
import unicodedata
from typing import Final

from app.domain.identity.keys import DroppedKey, DropReason
from app.domain.identity.placeholders import is_placeholder

# Amazon's help for MATCH_ID: alphanumeric, at most 100 characters. Other characters are not checked here.
MATCH_ID_LONGEST: Final = 100

_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
# A version 4 UUID without dashes. Advertising ids are version 4; at least 31 of 32 MD5 digests, which have
# the same length, lack its two marker digits.
_BARE_UUID4: Final = re.compile(r"[0-9A-Fa-f]{12}4[0-9A-Fa-f]{3}[89ABab][0-9A-Fa-f]{15}")
_BARE_HEX: Final = re.compile(r"[0-9A-Fa-f]{32}(?:[0-9A-Fa-f]{8}|[0-9A-Fa-f]{32})?")


def raw(text: str, country: str) -> str | DroppedKey:
    """Return an id unchanged, unless it is blank or contains a control character."""
    if not text.strip():
        return DroppedKey(DropReason.EMPTY)
    return DroppedKey(DropReason.CONTROL_CHARACTER) if _has_control(text) else text


def trimmed(text: str, country: str) -> str | DroppedKey:
    """Return an id without surrounding white space."""
    return raw(text.strip(), country)


def raw_match_id(text: str, country: str) -> str | DroppedKey:
    return _short_enough(raw(text, country))


def trimmed_match_id(text: str, country: str) -> str | DroppedKey:
    return _short_enough(trimmed(text, country))


def raw_maid(text: str, country: str) -> str | DroppedKey:
    return _unless_all_zero(raw(text, country))


def trimmed_maid(text: str, country: str) -> str | DroppedKey:
    return _unless_all_zero(trimmed(text, country))


def amazon_maid(text: str, country: str) -> str | DroppedKey:
    """Return a mobile advertising id in UUID form, its case unchanged; restore missing dashes.

    Hex digits other than a version 4 UUID are a digest, which Amazon cannot match.
    """
    # Fast exit: most ids have this form, and such a text is not a placeholder.
    if _UUID.fullmatch(text) and text.strip("0-"):
        return text
    maid = is_placeholder(text) or trimmed_maid(text, country)
    if isinstance(maid, DroppedKey) or _UUID.fullmatch(maid):
        return maid
    if _BARE_UUID4.fullmatch(maid):
        return f"{maid[:8]}-{maid[8:12]}-{maid[12:16]}-{maid[16:20]}-{maid[20:]}"
    return DroppedKey(DropReason.UNUSABLE_DIGEST if _BARE_HEX.fullmatch(maid) else DropReason.NOT_A_UUID)


def amazon_ip_address(text: str, country: str) -> str | DroppedKey:
    """Return a complete IPv4 or IPv6 address unchanged; networks, partial addresses and zones have no key."""
    address = trimmed(text, country)
    if isinstance(address, DroppedKey):
        return address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return DroppedKey(DropReason.NOT_AN_IP_ADDRESS)
    if "%" in address:
        return DroppedKey(DropReason.NOT_AN_IP_ADDRESS)
    return DroppedKey(DropReason.PLACEHOLDER) if parsed.is_unspecified else address


def _short_enough(value: str | DroppedKey) -> str | DroppedKey:
    if isinstance(value, str) and len(value) > MATCH_ID_LONGEST:
        return DroppedKey(DropReason.TOO_LONG)
    return value


def _unless_all_zero(value: str | DroppedKey) -> str | DroppedKey:
    """Drop the all-zero id that a phone reports when tracking is limited: it would match all such people."""
    if isinstance(value, str) and not value.strip("0- "):
        return DroppedKey(DropReason.PLACEHOLDER)
    return value


def _has_control(text: str) -> bool:
    """Return whether a text contains a control character, a line separator, or a lone surrogate."""
    if text.isascii():
        return not text.isprintable()
    return any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text)
