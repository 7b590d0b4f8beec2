"""Headers as the server read them: pairs of bytes, names in lower case."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]


def first(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the first header of a name (given in lower case), or None."""
    for found, value in headers:
        if found == name:
            return value.decode("latin-1")
    return None
