"""The files for a forge and for editors agree with the project."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

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
