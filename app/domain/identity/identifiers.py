"""Check identifiers that are sent unhashed: advertising ids, ids of partners or advertisers, IP addresses."""

import ipaddress
import re
import unicodedata
from typing import Final

from app.domain.identity.keys import DropReason
from app.domain.identity.placeholders import is_placeholder

# Source: Amazon's help for MATCH_ID, which also says "alphanumeric". Only the length is checked.
MATCH_ID_LONGEST: Final = 100

_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
# A version 4 UUID without dashes, as advertising ids are. An MD5 digest is as long, but at least 31 of 32 MD5
# digests lack the two marker digits of version 4.
_BARE_UUID4: Final = re.compile(r"[0-9A-Fa-f]{12}4[0-9A-Fa-f]{3}[89ABab][0-9A-Fa-f]{15}")
_BARE_HEX: Final = re.compile(r"[0-9A-Fa-f]{32}(?:[0-9A-Fa-f]{8}|[0-9A-Fa-f]{32})?")


def raw(text: str, country: str) -> str | DropReason:
    """Return an id unchanged; drop it if it is blank or contains a control character."""
    if not text.strip():
        return DropReason.EMPTY
    return DropReason.CONTROL_CHARACTER if _has_control(text) else text


def match_id(text: str, country: str) -> str | DropReason:
    """Apply `raw`, and drop an id that is longer than Amazon accepts."""
    value = raw(text, country)
    if isinstance(value, str) and len(value) > MATCH_ID_LONGEST:
        return DropReason.TOO_LONG
    return value


def maid(text: str, country: str) -> str | DropReason:
    """Apply `raw`, and drop a mobile advertising id of zeros.

    Every phone whose owner limits tracking reports this id, so it would match many people.
    """
    value = raw(text, country)
    if isinstance(value, str) and not value.strip("0- "):
        return DropReason.PLACEHOLDER
    return value


def amazon_maid(text: str, country: str) -> str | DropReason:
    """Return a mobile advertising id as a UUID. Missing dashes are added, and upper and lower case are kept.

    Drop any other text. Other hex digits are probably a digest, which Amazon cannot match.
    """
    # Fast path: most ids have this form, and a placeholder does not match.
    if _UUID.fullmatch(text) and text.strip("0-"):
        return text
    value = is_placeholder(text) or maid(text.strip(), country)
    if isinstance(value, DropReason) or _UUID.fullmatch(value):
        return value
    if _BARE_UUID4.fullmatch(value):
        return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"
    return DropReason.UNUSABLE_DIGEST if _BARE_HEX.fullmatch(value) else DropReason.NOT_A_UUID


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address is of one place in the internet. Any other address identifies no person."""
    judged = getattr(address, "ipv4_mapped", None) or address
    return judged.is_global and not judged.is_multicast


def amazon_ip_address(text: str, country: str) -> str | DropReason:
    """Return a public IP address unchanged; drop networks, partial addresses and addresses with a zone."""
    address = raw(text.strip(), country)
    if isinstance(address, DropReason):
        return address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return DropReason.NOT_AN_IP_ADDRESS
    if "%" in address:
        return DropReason.NOT_AN_IP_ADDRESS
    if parsed.is_unspecified:
        return DropReason.PLACEHOLDER
    return address if is_public(parsed) else DropReason.NOT_A_PUBLIC_ADDRESS


def _has_control(text: str) -> bool:
    """Return whether a text has a control character, a line or paragraph separator, or a lone surrogate."""
    if text.isascii():
        return not text.isprintable()
    return any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text)
