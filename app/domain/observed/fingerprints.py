"""Fingerprints of the texts of a destination's events: keyed digests of at most 20 texts for each path.

They show whether a text of an event is a text of a mapping, such as a key of the pipe's `map`. The 21st
different text of a path deletes the path's fingerprints. A path that feeds a match key has none. Samples
refer to fingerprints by their places, so that nothing remains of deleted ones.
"""

import contextlib
import hmac
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from app.domain.mapping.document import compile_parts
from app.domain.mapping.paths import Path, parse_path

MOST_TEXTS: Final = 20
MOST_PATHS: Final = 400
_SIZE: Final = 16

_decoder: Final = msgspec.msgpack.Decoder(dict[str, bytes | None])


@lru_cache(maxsize=1_024)
def fingerprint_key(pepper: bytes, destination: int) -> bytes:
    """Return the key for a destination's fingerprints, so that those of two destinations differ."""
    return hmac.digest(pepper, b"fingerprints of destination %d" % destination, "sha256")


def fingerprint(text: str, key: bytes) -> bytes:
    """Return the first 16 bytes of the HMAC-SHA-256 of a text."""
    return hmac.digest(key, text.encode("utf-8", "replace"), "sha256")[:_SIZE]


class Fingerprints:
    """The fingerprints of a destination by path.

    `closed` has the paths that feed match keys. `generation` rises when all fingerprints are deleted.
    """

    def __init__(self, closed: Iterable[str] = (), stored: bytes = b"", generation: int = 0) -> None:
        self.generation = generation
        self._patterns = tuple(filter(None, map(_pattern, closed)))
        # The fingerprints of a path, one after the other. None if the path had more than 20 texts.
        self._by_path: dict[str, bytes | None] = {}
        if stored:
            with contextlib.suppress(msgspec.DecodeError):  # a damaged row
                self._by_path = _decoder.decode(stored)
        for path in [path for path in self._by_path if self.is_closed(path)]:
            del self._by_path[path]

    def is_closed(self, path: str) -> bool:
        """Return whether a path feeds a match key, or is a member of a value that does."""
        steps = _pattern(path)
        return any(steps[: len(pattern)] == pattern for pattern in self._patterns)

    def place(self, path: str, digest: bytes) -> int:
        """Return the place of a fingerprint, a negative number, and add it if it is new; 0 if it has none."""
        texts = self._by_path.get(path, b"")
        if texts is None or (not texts and (len(self._by_path) >= MOST_PATHS or self.is_closed(path))):
            return 0
        places = range(0, len(texts), _SIZE)
        place = next((n for n, at in enumerate(places) if texts[at : at + _SIZE] == digest), len(places))
        if place == MOST_TEXTS:
            self._by_path[path] = None
            return 0
        if place == len(places):
            self._by_path[path] = texts + digest
        return -1 - place

    def find(self, path: str, place: int) -> bytes | None:
        """Return the fingerprint at a place, or None if there is none, or no longer."""
        begin = -_SIZE * (1 + place)
        return (self._by_path.get(path) or b"")[begin : begin + _SIZE] or None if place < 0 else None

    def stored(self) -> bytes:
        return msgspec.msgpack.encode(self._by_path)


def match_key_paths(document: Mapping[str, Any]) -> set[str]:
    """Return the paths that feed the match keys of a mapping document, which may have problems."""
    return {path for _, source in compile_parts(dict(document)).match_keys for path in source.paths}


def _pattern(path: str) -> Path:
    """Return the steps of a path, in which every index is the same."""
    steps = parse_path(path) or ()
    return tuple(step if isinstance(step, str) else 0 for step in steps)
