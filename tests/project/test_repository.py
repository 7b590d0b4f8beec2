"""The files for a forge, for editors and of a release agree with the project."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from app import telemetry
from dev import checks
from dev.components import locked_packages, vendored_files

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text())


def test_the_workflow_runs_the_checks_on_every_tested_python() -> None:
    """`./run` names the tested versions; the first is the one that pyproject.toml requires."""
    job = WORKFLOW["jobs"]["check"]
    tested = re.search(r"TESTED = range\((\d+), (\d+)\)", (ROOT / "run").read_text())
    assert tested is not None
    versions = [f"3.{minor}" for minor in range(int(tested[1]), int(tested[2]))]
    assert job["strategy"]["matrix"]["python"] == versions
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={versions[0]}"
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec ./run check")


def test_the_workflow_runs_where_the_checks_install_their_tools() -> None:
    """`.ci/run` installs them as root with apt; the image has the Python of the matrix."""
    job = WORKFLOW["jobs"]["check"]
    assert job["container"]["image"] == "python:${{ matrix.python }}-trixie"
    assert "--privileged" in job["container"]["options"]
    assert "apt-get install" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_a_file_for_the_forge_can_be_read(path: Path) -> None:
    """It is YAML with the members that the forge requires."""
    read = yaml.safe_load(path.read_text())
    if path.parent.name == "workflows":
        assert {"name", True, "permissions", "jobs"} <= set(read)  # `on` is true in YAML 1.1
    elif path.name not in {"config.yml", "dependabot.yml"}:
        assert {"name", "description", "body"} <= set(read)


def test_hooks_before_a_commit_are_static_steps_of_the_check() -> None:
    """They use the same tools, from the same environment."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [hook["entry"].split()[0] for hook in hooks] == [
        f".venv/bin/{tool}" for tool in ("ruff", "ruff", "mypy", "lint-imports")
    ]
    # Given names of files, ruff would change those that its settings exclude, and `run`, which has no ending.
    for hook in hooks[:2]:
        assert (hook["entry"].split()[-1], hook["files"]) == ("--force-exclude", r"\.pyi?$")


def test_every_step_of_the_check_that_fails_is_named_with_its_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also one that ends with an exception: the steps after it are reported, too."""

    def crash() -> tuple[int, str]:
        raise OSError("no space left")

    steps = (
        ("good", lambda: (0, "its output\n")),
        ("crash", crash),
        ("bad", lambda: (2, "line 7\n")),
    )
    assert checks.failed_steps(steps) == ["crash", "bad"]
    written = capsys.readouterr().out
    assert "its output" not in written
    assert "=== crash\nTraceback" in written
    assert "OSError: no space left" in written
    assert "=== bad\nline 7\n--- bad: " in written


def test_the_dev_container_forwards_the_ports_of_the_program() -> None:
    """API, sandbox, and the site of the documents."""
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert container["forwardPorts"] == [8000, 8001, 8002]
    assert container["postCreateCommand"].endswith("./run --help")


@pytest.mark.process
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git reads its attributes only in a repository")
def test_generated_and_vendored_files_are_marked() -> None:
    """A forge leaves them out of reviews and statistics."""

    def marked(attribute: str, paths: list[str]) -> list[str]:
        ended = subprocess.run(
            ["git", "check-attr", attribute, "--", *paths],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return [line.split(":")[0] for line in ended.stdout.splitlines() if not line.endswith(": set")]

    table = (ROOT / "app" / "console" / "static" / "VENDORED.md").read_text()
    vendored = [f"app/console/static/{name}" for name in re.findall(r"(?m)^\| `([\w.-]+)` \|", table)]
    assert marked("linguist-vendored", vendored) == []
    generated = [
        path.relative_to(ROOT).as_posix()
        for path in [
            *(ROOT / "docs").glob("*.md"),
            *ROOT.glob("*.md"),
            *(ROOT / "requirements").glob("*.txt"),
        ]
        if path.suffix == ".txt" or re.search(r"(?m)^Generated from ", path.read_text())
    ]
    assert len(generated) > 5
    assert marked("linguist-generated", generated) == []


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


def printed(*options: str) -> str:
    command = [sys.executable, "-m", "app", "sbom", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("options", "locked"), [((), "runtime.txt"), (("--dev",), "dev.txt")])
@pytest.mark.process
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


@pytest.mark.process
def test_no_host_is_named_but_that_of_the_schema() -> None:
    """The document does not say where packages were installed from."""
    hosts = [line for line in printed().splitlines() if "://" in line]
    assert hosts == ['  "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",']


@pytest.mark.process
def test_vendored_libraries_are_listed_with_their_files() -> None:
    """The image holds them, too: htmx and uPlot."""
    listed = {each["purl"]: each for each in json.loads(printed())["components"]}
    files = vendored_files()
    assert len(files) == 3
    for file in files:
        parts = listed[f"pkg:npm/{file.package}@{file.version}"]["components"]
        digests = {part["name"]: part["hashes"][0]["content"] for part in parts}
        assert digests[file.file] == file.digest


@pytest.mark.process
def test_every_package_names_its_licence() -> None:
    """For the list, and for THIRD_PARTY_NOTICES.md."""
    assert [each.name for each in locked_packages("runtime.txt") if each.licence is None] == []
