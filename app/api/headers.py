"""Read request headers: pairs of bytes with names in lower case."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

_EMPTY = SplitResult("", "", "", "", "")
RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]


def first_header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the first header with this lower-case name, or None."""
    for header, value in headers:
        if header == name:
            return value.decode("latin-1")
    return None


def address_parts(address: str) -> SplitResult:
    """Return the parts of a URL in a header (Origin, Referer), all empty if it is invalid."""
    try:
        return urlsplit(address)
    except ValueError:
        return _EMPTY
