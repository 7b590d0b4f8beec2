"""Read request headers: pairs of bytes with names in lower case."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

_EMPTY = SplitResult("", "", "", "", "")
RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]


FirstHeaders: TypeAlias = Mapping[bytes, bytes]


def first_headers(headers: RawHeaders) -> FirstHeaders:
    """Return the first header of each name."""
    return dict(reversed(headers))


def address_parts(address: str) -> SplitResult:
    """Return the parts of a URL in a header (Origin, Referer), all empty if it is invalid."""
    try:
        return urlsplit(address)
    except ValueError:
        return _EMPTY
