"""Rules for modules, imports and requirements."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.oidc_client import AsyncOAuth2Client

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for folder in ("app", "sandbox", "dev") for path in (ROOT / folder).rglob("*.py"))
_BANNED = """
    acts base common data floors garbage handler helpers info journey learned lifeline manager misc oddities
    outline processor service straight sweeping telling turnstile utils
    """
BANNED = frozenset(_BANNED.split())
LONGEST = 400


def test_modules_are_short_and_have_no_banned_name() -> None:
    """No file is longer than 400 lines, and no module or package has a banned name."""
    assert [path for path in MODULES if len(path.read_text().splitlines()) > LONGEST] == []
    assert [path for path in MODULES if BANNED & {path.stem, path.parent.name}] == []


# Functions whose result depends on the clock or on chance.
NONDETERMINISTIC = re.compile(
    r"(^|\.)(now|utcnow|today|monotonic|perf_counter|time_ns|urandom|uuid[14]|token_\w+)$|^random\."
)


def test_the_domain_reads_no_clock_and_no_random_number() -> None:
    """Time and jitter are arguments."""
    calls = [
        (path, ast.unparse(node.func))
        for path in (ROOT / "app" / "domain").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]
    assert [each for each in calls if NONDETERMINISTIC.search(each[1])] == []


def test_no_generated_text_of_an_object_has_the_pepper() -> None:
    """Who knows the pepper can test a stored digest against guessed values of people."""
    with_pepper = [
        (path.name, node.name, ast.unparse(member), node)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and "dataclass" in "".join(map(ast.unparse, node.decorator_list))
        for member in node.body
        if isinstance(member, ast.AnnAssign) and ast.unparse(member.target) == "pepper"
    ]
    assert with_pepper
    for path, name, member, node in with_pepper:
        decorators = "".join(map(ast.unparse, node.decorator_list))
        assert "repr=False" in decorators + member, (path, name)


def modules_after(statement: str) -> set[str]:
    """Return the names of all modules that an interpreter has loaded after a statement."""
    script = f"import sys; {statement}; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True, text=True
    )
    return set(ended.stdout.split())


@pytest.mark.process
def test_a_worker_loads_nothing_that_only_the_api_needs() -> None:
    """A worker runs beside every API process, and each of these packages is megabytes of memory."""
    worker = "import app.cli, app.commands.processes, app.processes.worker"
    loaded = modules_after(worker)
    assert "app.processes.worker" in loaded
    web = {"fastapi", "starlette", "app.api", "app.admin", "app.server"}
    other = {"sqlalchemy", "jinja2", "phonenumbers", "app.console", "app.ingest", "app.domain.identity"}
    assert loaded & (web | other) == set()
    # With METRICS_PORT it serves HTTP, and still neither reads configuration nor converts events.
    loaded = modules_after(f"{worker}, app.server.server")
    assert web < loaded
    assert loaded & other == set()


@pytest.mark.process
@pytest.mark.parametrize(("process", "most"), [("api", 1_520), ("worker", 770)])
def test_a_process_loads_what_it_needs(process: str, most: int) -> None:
    """Each module costs memory in every process, and CPU at every start. There are 5 % of reserve."""
    loaded = modules_after(f"import app.cli, app.commands.processes, app.processes.{process}")
    assert f"app.processes.{process}" in loaded
    assert len(loaded) < most
    # People sign in through OpenID Connect and get mail in few installations.
    assert loaded & {"authlib", "joserfc", "aiosmtplib", "opentelemetry.sdk"} == set()
    assert [name for name in loaded if name.partition(".")[0] in {"dev", "sandbox"}] == []


def test_authlib_speaks_through_the_http_client_that_tests_can_see() -> None:
    """If httpx2 were merely installed, Authlib would use it, and no test would see its calls."""
    assert issubclass(AsyncOAuth2Client, httpx.AsyncClient)
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("httpx2")


# --- What is installed ----------------------------------------------------------------------------


LISTS = sorted((ROOT / "requirements").glob("*.txt"))
REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)( ; .+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def packages(lines: Iterable[str]) -> set[str]:
    """Return the names of the packages that are required."""
    return {canonicalize_name(Requirement(line).name) for line in lines}


def pins(name: str) -> set[str]:
    """Return the pinned requirements of a list."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {line.removesuffix(" \\") for line in lines if REQUIREMENT.match(line)}


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_a_list_holds_pinned_names_and_hashes_and_nothing_else(path: Path) -> None:
    """A list holds no host and no path, so that each installation chooses its own."""
    lines = path.read_text().splitlines()
    assert [line for line in lines if not (REQUIREMENT.match(line) or HASH.match(line))] == []


def test_every_imported_package_is_declared() -> None:
    """A package that comes only through another one can disappear with its next version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = [*project["project"]["dependencies"], *project["dependency-groups"]["embedded"]]
    for group in project["project"]["optional-dependencies"].values():
        lines += group
    distributions = importlib.metadata.packages_distributions()
    imported = {
        name.partition(".")[0]
        for path in (ROOT / "app").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    } - sys.stdlib_module_names
    owners = {name: packages(distributions.get(name, ())) for name in imported}
    assert {name for name, names in owners.items() if names and not names & packages(lines)} == set()


def test_every_dependency_is_in_the_lists() -> None:
    """Each dependency of pyproject.toml is pinned in the lists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = packages(project["project"]["dependencies"])
    assert runtime <= packages(pins("runtime.txt"))
    assert runtime.union(*map(packages, project["dependency-groups"].values())) <= packages(pins("dev.txt"))


def test_both_lists_pin_the_same_versions() -> None:
    """The image runs the versions that were tested."""
    assert pins("runtime.txt") <= pins("dev.txt")
