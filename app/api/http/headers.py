"""Read raw request headers, which are pairs of bytes. The names are in lower case."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

_EMPTY = SplitResult("", "", "", "", "")
RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]


FirstHeaders: TypeAlias = Mapping[bytes, bytes]


def address_parts(address: str) -> SplitResult:
    """Return the parts of the URL in a header such as Origin or Referer.

    All parts are empty if the URL is invalid.
    """
    try:
        return urlsplit(address)
    except ValueError:
        return _EMPTY
