"""Load style sheets and scripts once. Their addresses change with their content."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file."""

    name: str
    media_type: str
    version: str

    @property
    def plain(self) -> bytes:
        """Return the uncompressed content, read from disk. Only compressed content stays in memory."""
        return (_FOLDER / self.name).read_bytes()


ASSETS: Mapping[str, Asset] = {
    file.name: Asset(file.name, _MEDIA_TYPES[file.suffix], hashlib.sha256(file.read_bytes()).hexdigest()[:12])
    for file in sorted(_FOLDER.iterdir())
    if file.suffix in _MEDIA_TYPES
}


def address(name: str) -> str:
    """Return the address of a file.

    The address changes with the content, so caches can keep files forever.
    """
    return f"/console/static/{name}?v={ASSETS[name].version}"


@cache
def compressed(name: str) -> bytes:
    """Return a file compressed with gzip. The first call takes up to 100 ms."""
    return gzip.compress(ASSETS[name].plain, 9, mtime=0)
