"""`sbom`: print the software bill of materials of an installation, as CycloneDX 1.6 JSON.

The bill is generated from `requirements/runtime.txt`, from which every installation is made. It contains no
time and no serial number, so that the same list gives the same bytes.
"""

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.settings import Settings
from app.store.migrate import ROOT

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==(\S+?)(?: ; (.+?))? \\$")
_HASH = re.compile(r"^    --hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """A package of a requirement list, its environment marker (`condition`), and its files' digests."""

    name: str
    version: str
    condition: str | None
    digests: tuple[str, ...]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dev", action="store_true", help="include packages of development and tests")


def run(_settings: Settings, asked: argparse.Namespace) -> int:
    """Print the bill of materials."""
    name = "dev.txt" if asked.dev else "runtime.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = list(locked_packages((ROOT / "requirements" / name).read_text()))
    json.dump(bill(project, listed), sys.stdout, indent=2, sort_keys=True)
    sys.stdout.write("\n")
    return 0


def locked_packages(text: str) -> Iterator[LockedPackage]:
    """Yield the packages of the text of a requirement list."""
    name: tuple[str, str, str | None] | None = None
    digests: list[str] = []
    for line in [*text.splitlines(), "end==0 \\"]:  # the added line ends the last package
        if (found := _REQUIREMENT.match(line)) is not None:
            if name is not None:
                yield LockedPackage(*name, tuple(digests))
            name, digests = (found[1], found[2], found[3]), []
        elif (digest := _HASH.match(line)) is not None:
            digests.append(digest[1])


def bill(project: dict[str, Any], packages: list[LockedPackage]) -> dict[str, Any]:
    """Return the CycloneDX document of a project and its packages."""
    root = f"pkg:pypi/{project['name']}@{project['version']}"
    components = [_component(package) for package in packages]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": project["name"],
                "version": project["version"],
                "purl": root,
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [component["bom-ref"] for component in components]}],
    }


def _component(package: LockedPackage) -> dict[str, Any]:
    normal = re.sub(r"[-_.]+", "-", package.name).lower()
    purl = f"pkg:pypi/{normal}@{package.version}"
    properties = [{"name": "file:sha256", "value": digest} for digest in package.digests]
    if package.condition is not None:
        properties.append({"name": "condition", "value": package.condition})
    return {
        "type": "library",
        "bom-ref": purl,
        "name": normal,
        "version": package.version,
        "purl": purl,
        # A release has several files, but CycloneDX's field for hashes allows only one.
        "properties": properties,
    }
