"""Identifiers that travel as they are: advertising ids, partners' ids, the advertiser's own, IP addresses."""

import ipaddress
import re
import unicodedata
from typing import Final

from app.domain.identity.keys import DroppedKey, DropReason
from app.domain.identity.placeholders import is_placeholder

# Amazon's help for MATCH_ID: alphanumeric, at most 100 characters. Its letters are not judged here.
MATCH_ID_LONGEST: Final = 100

_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
# A version 4 UUID whose dashes were lost. Advertising ids are of version 4; of the MD5 digests, which look
# alike, 31 in 32 or more do not carry its two marks.
_BARE_UUID4: Final = re.compile(r"[0-9A-Fa-f]{12}4[0-9A-Fa-f]{3}[89ABab][0-9A-Fa-f]{15}")
_BARE_HEX: Final = re.compile(r"[0-9A-Fa-f]{32}(?:[0-9A-Fa-f]{8}|[0-9A-Fa-f]{32})?")


def raw(text: str, country: str) -> str | DroppedKey:
    """Pass an id untouched, unless it is blank or holds a control character."""
    if not text.strip():
        return DroppedKey(DropReason.EMPTY)
    return DroppedKey(DropReason.CONTROL_CHARACTER) if _has_control(text) else text


def trimmed(text: str, country: str) -> str | DroppedKey:
    """Pass an id without the white space around it."""
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
    """Pass a mobile advertising id in the form of a UUID, its case as given; give back dashes that were lost.

    A bare run of hex digits that is no version 4 UUID is a digest, which Amazon cannot match.
    """
    # Most come so, and what does is no placeholder.
    if _UUID.fullmatch(text) and text.strip("0-"):
        return text
    maid = is_placeholder(text) or trimmed_maid(text, country)
    if isinstance(maid, DroppedKey) or _UUID.fullmatch(maid):
        return maid
    if _BARE_UUID4.fullmatch(maid):
        return f"{maid[:8]}-{maid[8:12]}-{maid[12:16]}-{maid[16:20]}-{maid[20:]}"
    return DroppedKey(DropReason.UNUSABLE_DIGEST if _BARE_HEX.fullmatch(maid) else DropReason.NOT_A_UUID)


def amazon_ip_address(text: str, country: str) -> str | DroppedKey:
    """Pass a whole IPv4 or IPv6 address as written; a network, a cut address or a zone makes no key."""
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
    """Drop the id that a phone gives when its owner limits tracking: all such people would be one."""
    if isinstance(value, str) and not value.strip("0- "):
        return DroppedKey(DropReason.PLACEHOLDER)
    return value


def _has_control(text: str) -> bool:
    """Tell whether a text holds a control character, a line separator, or half a surrogate pair."""
    if text.isascii():
        return not text.isprintable()
    return any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text)
