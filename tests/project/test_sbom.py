"""The bill of materials lists what is locked, and names no registry."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
# The part of CycloneDX 1.6 that the document uses.
COMPONENT = {
    "type": "object",
    "required": ["type", "name", "version", "purl", "bom-ref"],
    "properties": {
        "type": {"enum": ["library", "application"]},
        "purl": {"pattern": "^pkg:pypi/[a-z0-9-]+@[^/]+$"},
        "properties": {"items": {"required": ["name", "value"], "additionalProperties": {"type": "string"}}},
    },
}
SCHEMA = {
    "type": "object",
    "required": ["bomFormat", "specVersion", "version", "metadata", "components", "dependencies"],
    "properties": {
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "metadata": {"required": ["component"], "properties": {"component": COMPONENT}},
        "components": {"type": "array", "items": COMPONENT, "uniqueItems": True},
        "dependencies": {"items": {"required": ["ref", "dependsOn"]}},
    },
}


def printed(*options: str) -> str:
    command = [sys.executable, "-m", "app", "sbom", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("options", "locked"), [((), "runtime.txt"), (("--dev",), "dev.txt")])
def test_every_locked_package_is_listed_with_its_digests(options: tuple[str, ...], locked: str) -> None:
    """As many packages and digests as the list has, and twice the same bytes."""
    text = printed(*options)
    document: dict[str, Any] = json.loads(text)
    jsonschema.validate(document, SCHEMA)
    listed = (ROOT / "requirements" / locked).read_text()
    assert len(document["components"]) == listed.count("==") - listed.count(" == ")
    digests = [one for component in document["components"] for one in component["properties"]]
    assert len([one for one in digests if one["name"] == "file:sha256"]) == listed.count("--hash=sha256:")
    assert printed(*options) == text


def test_no_host_is_named_but_that_of_the_schema() -> None:
    """Whoever reads it learns nothing about where packages were installed from."""
    hosts = [line for line in printed().splitlines() if "://" in line]
    assert hosts == ['  "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",']
