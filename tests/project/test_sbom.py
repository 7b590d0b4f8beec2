"""The bill of materials lists what is locked and vendored, and names no registry."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from dev.components import locked_packages, vendored_files

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]


def printed(*options: str) -> str:
    command = [sys.executable, "-m", "app", "sbom", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("options", "locked"), [((), "runtime.txt"), (("--dev",), "dev.txt")])
def test_every_locked_package_is_listed_with_its_digests(options: tuple[str, ...], locked: str) -> None:
    """As many packages and digests as the list has, and twice the same bytes."""
    text = printed(*options)
    document: dict[str, Any] = json.loads(text)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    listed = (ROOT / "requirements" / locked).read_text()
    packages = [each for each in document["components"] if each["purl"].startswith("pkg:pypi/")]
    assert len(packages) == len(re.findall(r"(?m)^\S+==", listed))
    digests = [each for package in packages for each in package["properties"]]
    assert len([each for each in digests if each["name"] == "file:sha256"]) == listed.count("--hash=sha256:")
    assert printed(*options) == text


def test_no_host_is_named_but_that_of_the_schema() -> None:
    """The document does not say where packages were installed from."""
    hosts = [line for line in printed().splitlines() if "://" in line]
    assert hosts == ['  "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",']


def test_vendored_libraries_are_listed_with_their_files() -> None:
    """The image holds them, too: htmx and uPlot."""
    listed = {each["purl"]: each for each in json.loads(printed())["components"]}
    files = vendored_files()
    assert len(files) == 3
    for file in files:
        parts = listed[f"pkg:npm/{file.package}@{file.version}"]["components"]
        digests = {part["name"]: part["hashes"][0]["content"] for part in parts}
        assert digests[file.file] == file.digest


def test_every_package_names_its_licence() -> None:
    """For the list, and for THIRD_PARTY_NOTICES.md."""
    unknown = [each.name for each in locked_packages("runtime.txt") if each.licence is None]
    assert unknown == []
