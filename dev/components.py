"""The software that an installation consists of: packages of the requirement lists, and vendored files."""

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.store.database.migrate import ROOT

VENDORED: Final = ROOT / "app" / "console" / "static" / "VENDORED.md"
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==(\S+?)(?: ; (.+?))? \\$")
_HASH = re.compile(r"^    --hash=sha256:([0-9a-f]{64})")
_FILE = re.compile(
    r"(?m)^\| `([\w.-]+)` \| `([\w.-]+)` \| (\S+) \| [^|]+ \| ([\w.-]+), `([\w.-]+)` \| `([0-9a-f]{64})` \|$"
)
# Packages whose metadata has a text in place of an SPDX expression.
_NAMED: Final = {"BSD License": "BSD-3-Clause", "MIT License": "MIT"}


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """A package of a requirement list, its environment marker (`condition`), and its files' digests."""

    name: str
    version: str
    condition: str | None
    digests: tuple[str, ...]

    @property
    def licence(self) -> str | None:
        """The licence that the installed package declares; None if it is not installed here."""
        try:
            metadata = importlib.metadata.metadata(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None
        names = (metadata[name] for name in ("License-Expression", "License") if name in metadata)
        text = next(names, "")
        if not text or "\n" in text:
            classifiers = metadata.get_all("Classifier", [])
            text = next((each.rpartition(" :: ")[2] for each in classifiers if "License" in each), "")
        return _NAMED.get(text, text) or None


@dataclass(frozen=True, slots=True)
class VendoredFile:
    """A file of another project that is in the repository unchanged."""

    file: str
    package: str
    version: str
    licence: str
    licence_file: str
    digest: str


def locked_packages(list_name: str) -> Iterator[LockedPackage]:
    """Yield the packages of a list in `requirements/`."""
    name: tuple[str, str, str | None] | None = None
    digests: list[str] = []
    text = (ROOT / "requirements" / list_name).read_text()
    for line in [*text.splitlines(), "end==0 \\"]:  # the added line ends the last package
        if (found := _REQUIREMENT.match(line)) is not None:
            if name is not None:
                yield LockedPackage(*name, tuple(digests))
            name, digests = (found[1], found[2], found[3]), []
        elif (digest := _HASH.match(line)) is not None:
            digests.append(digest[1])


def vendored_files() -> list[VendoredFile]:
    """Return the rows of the table of vendored files."""
    return [VendoredFile(*row) for row in _FILE.findall(VENDORED.read_text())]
