"""Decode from a TCF consent string, version 2, whether it grants one vendor consent for some purposes.

Source: IAB Tech Lab, "Consent string and vendor list formats v2", core string. Bits count from the left.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from typing import Final

MAX_LENGTH: Final = 8192
_SEGMENTS: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)

# The fields of the core string: (first bit, number of bits).
_VERSION: Final = (0, 6)
_PURPOSES_CONSENT: Final = (152, 24)
_MAX_VENDOR_ID: Final = (213, 16)
_IS_RANGE: Final = (229, 1)
_VENDORS: Final = 230
_ENTRY_COUNT: Final = (_VENDORS, 12)


def _field(bits: str, start: int, width: int) -> str:
    """Return `width` bits. Raises IndexError if the string is shorter."""
    if start + width > len(bits):
        raise IndexError
    return bits[start : start + width]


def _number(bits: str, start: int, width: int) -> int:
    """Return `width` bits as an unsigned number. Raises IndexError if the string is shorter."""
    return int(_field(bits, start, width), 2)


def consents(text: str, *, vendor: int, purposes: Collection[int]) -> bool | None:
    """Return whether a TCF v2 string grants a vendor consent for all purposes. None if it is invalid.

    Legitimate interest does not count as consent. Only the first segment is decoded; the others must be
    base64url.
    """
    if len(text) > MAX_LENGTH or not _SEGMENTS.fullmatch(text):
        return None
    core = text.partition(".")[0]
    try:
        raw = urlsafe_b64decode(core + "=" * (-len(core) % 4))
    except ValueError:
        return None
    bits = f"{int.from_bytes(raw, 'big'):0{len(raw) * 8}b}"
    try:
        if _number(bits, *_VERSION) != 2:
            return None
        purposes_given = _field(bits, *_PURPOSES_CONSENT)
        vendor_given = _vendor_given(bits, vendor)
    except IndexError:
        return None
    most = len(purposes_given)
    return vendor_given and all(1 <= p <= most and purposes_given[p - 1] == "1" for p in purposes)


def _vendor_given(bits: str, vendor: int) -> bool:
    last = _number(bits, *_MAX_VENDOR_ID)
    if not _number(bits, *_IS_RANGE):
        vendors_given = _field(bits, _VENDORS, last)  # a truncated field makes the string invalid
        return 1 <= vendor <= last and vendors_given[vendor - 1] == "1"
    offset = _VENDORS + 12
    consented = False
    for _ in range(_number(bits, *_ENTRY_COUNT)):
        is_range, start = _number(bits, offset, 1), _number(bits, offset + 1, 16)
        end = _number(bits, offset + 17, 16) if is_range else start
        offset += 33 if is_range else 17
        consented = consented or start <= vendor <= end
    return consented


def consent_to_all() -> str:
    """Return a sample string that grants every vendor consent for every purpose."""
    bits = f"{2:06b}".ljust(_PURPOSES_CONSENT[0], "0") + "1" * _PURPOSES_CONSENT[1]
    bits = bits.ljust(_MAX_VENDOR_ID[0], "0") + f"{65_535:016b}1{1:012b}1{1:016b}{65_535:016b}"
    bits = bits.ljust(-(-len(bits) // 24) * 24, "0")
    return urlsafe_b64encode(int(bits, 2).to_bytes(len(bits) // 8, "big")).decode()
