"""`sbom`: print the software bill of materials of an installation, as CycloneDX 1.6 JSON.

It lists the packages of `requirements/runtime.txt`, from which every installation is made, and the files of
other projects that are in the repository. It contains no time and no host, so that the same lists give the
same bytes.
"""

import argparse
import hashlib
import re
import sys
import tomllib
import uuid
from collections.abc import Iterable, Iterator
from itertools import groupby

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from app.settings import Settings
from app.store.database.migrate import ROOT
from dev.components import LockedPackage, VendoredFile, locked_packages, vendored_files


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dev", action="store_true", help="include packages of development and tests")


def run(_settings: Settings, asked: argparse.Namespace) -> int:
    """Print the bill of materials."""
    listed = locked_packages("dev.txt" if asked.dev else "runtime.txt")
    sys.stdout.write(JsonV1Dot6(bill(listed, vendored_files())).output_as_string(indent=2) + "\n")
    return 0


def bill(packages: Iterable[LockedPackage], files: Iterable[VendoredFile]) -> Bom:
    """Return the bill of this project with these components."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    product = Component(
        type=ComponentType.APPLICATION,
        name=project["name"],
        version=project["version"],
        purl=PackageURL("pypi", name=project["name"], version=project["version"]),
        licenses=[LicenseFactory().make_from_string(project["license"])],
    )
    product.bom_ref.value = str(product.purl)
    bom = Bom(components=[*map(_package, packages), *_libraries(files)])
    bom.metadata.component = product
    bom.register_dependency(product, bom.components)
    names = ",".join(sorted(f"{each.purl}" for each in bom.components))
    bom.serial_number = uuid.UUID(hashlib.sha256(names.encode()).hexdigest()[:32], version=5)
    bom.metadata.timestamp = None  # type: ignore[assignment]  # optional in CycloneDX
    return bom


def _package(package: LockedPackage) -> Component:
    normal = re.sub(r"[-_.]+", "-", package.name).lower()
    # A release has several files, but CycloneDX's field for hashes belongs to one.
    properties = [Property(name="file:sha256", value=digest) for digest in package.digests]
    if package.condition is not None:
        properties.append(Property(name="condition", value=package.condition))
    return _component("pypi", normal, package.version, package.licence, properties=properties)


def _libraries(files: Iterable[VendoredFile]) -> Iterator[Component]:
    """Yield a component for each vendored package, with its files."""
    for (name, version, licence), group in groupby(
        files, key=lambda file: (file.package, file.version, file.licence)
    ):
        parts = [
            Component(
                type=ComponentType.FILE,
                name=file.file,
                bom_ref=f"file:{file.file}",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.digest)],
            )
            for file in group
        ]
        yield _component("npm", name, version, licence, components=parts)


def _component(
    kind: str,
    name: str,
    version: str,
    licence: str | None,
    *,
    properties: Iterable[Property] = (),
    components: Iterable[Component] = (),
) -> Component:
    purl = PackageURL(kind, name=name, version=version)
    return Component(
        name=name,
        version=version,
        purl=purl,
        bom_ref=str(purl),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else (),
        properties=properties,
        components=components,
    )
