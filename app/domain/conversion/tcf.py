"""Decode from a TCF consent string, version 2, whether it grants one vendor consent for some purposes.

Source: IAB Tech Lab, "Consent string and vendor list formats v2", core string. Bits count from the left.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Bits:
    number: int
    length: int

    def read(self, start: int, width: int) -> int:
        """Return `width` bits as an unsigned number. Raises IndexError if the string is shorter."""
        if start + width > self.length:
            raise IndexError
        return (self.number >> (self.length - start - width)) & ((1 << width) - 1)


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
    bits = _Bits(int.from_bytes(raw, "big"), len(raw) * 8)
    try:
        if bits.read(*_VERSION) != 2:
            return None
        purposes_given = bits.read(*_PURPOSES_CONSENT)
        vendor_given = _vendor_given(bits, vendor)
    except IndexError:
        return None
    return vendor_given and all(1 <= p <= 24 and (purposes_given >> (24 - p)) & 1 for p in purposes)


def _vendor_given(bits: _Bits, vendor: int) -> bool:
    last = bits.read(*_MAX_VENDOR_ID)
    if not bits.read(*_IS_RANGE):
        bits.read(_VENDORS, last)  # a truncated field makes the string invalid
        return 1 <= vendor <= last and bool(bits.read(_VENDORS + vendor - 1, 1))
    offset = _VENDORS + 12
    consented = False
    for _ in range(bits.read(*_ENTRY_COUNT)):
        is_range, start = bits.read(offset, 1), bits.read(offset + 1, 16)
        end = bits.read(offset + 17, 16) if is_range else start
        offset += 33 if is_range else 17
        consented = consented or start <= vendor <= end
    return consented


def consent_to_all() -> str:
    """Return a sample string that grants every vendor consent for every purpose."""
    bits = f"{2:06b}".ljust(_PURPOSES_CONSENT[0], "0") + "1" * _PURPOSES_CONSENT[1]
    bits = bits.ljust(_MAX_VENDOR_ID[0], "0") + f"{65_535:016b}1{1:012b}1{1:016b}{65_535:016b}"
    bits = bits.ljust(-(-len(bits) // 24) * 24, "0")
    return urlsafe_b64encode(int(bits, 2).to_bytes(len(bits) // 8, "big")).decode()
