"""Headers as the server read them: pairs of bytes, names in lower case."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

_NOWHERE = SplitResult("", "", "", "", "")
RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]


def first_header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the first header of a name (given in lower case), or None."""
    for found, value in headers:
        if found == name:
            return value.decode("latin-1")
    return None


def address_parts(address: str) -> SplitResult:
    """Return the parts of an address that a caller sent (Origin, Referer); all empty for one that is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return _NOWHERE
