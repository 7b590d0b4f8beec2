"""Style sheets and scripts: read once, compressed once, under addresses that change with their content."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served."""

    plain: bytes
    packed: bytes
    kind: str
    version: str


def _read() -> Mapping[str, Asset]:
    found = {}
    for file in sorted(_FOLDER.iterdir()):
        if file.suffix in _KINDS:
            content = file.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:12]
            found[file.name] = Asset(
                content, gzip.compress(content, 9, mtime=0), _KINDS[file.suffix], version
            )
    return found


ASSETS = _read()


def address(name: str) -> str:
    """Return the address of a file; another content has another address, so it may be kept for ever."""
    return f"/console/static/{name}?v={ASSETS[name].version}"
