"""A release names one version everywhere, and its wheel holds what the program imports."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from app import telemetry

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION: str = PROJECT["project"]["version"]


def test_the_changelog_begins_with_the_version() -> None:
    """With its date, or unreleased; versions descend."""
    headings = re.findall(
        r"(?m)^## (\d+)\.(\d+)\.(\d+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$",
        (ROOT / "CHANGELOG.md").read_text(),
    )
    assert len(headings) == (ROOT / "CHANGELOG.md").read_text().count("\n## ")
    versions = [tuple(map(int, heading)) for heading in headings]
    assert ".".join(map(str, versions[0])) == VERSION
    assert versions == sorted(set(versions), reverse=True)


def test_the_documents_build_the_version() -> None:
    """The example of the image is copied by operators."""
    deployment = (ROOT / "docs" / "deployment.md").read_text()
    assert set(re.findall(r"VERSION=([\d.]+)", deployment)) == {VERSION}


def test_the_wheel_holds_every_package_that_the_image_copies() -> None:
    """`app` imports the launcher of `dev` and the sandbox by command; migrations lie beside them."""
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = set(re.findall(r"(?m)^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text()))
    assert {*wheel["packages"], "migrations"} == copied
    assert wheel["force-include"] == {"migrations": "migrations", "alembic.ini": "alembic.ini"}


def test_an_installed_wheel_knows_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no pyproject.toml beside it; the metadata of the installed distribution has the version."""
    package = tmp_path / "app"
    package.mkdir()
    installed = tmp_path / "amazon_conversions_destination-7.8.9.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: amazon-conversions-destination\nVersion: 7.8.9\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(telemetry, "__file__", str(package / "telemetry.py"))
    assert telemetry._read_version() == "7.8.9"
