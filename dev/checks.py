"""`check`, `test`, `campaign` and `lock`: check a change, run tests, and update the requirement lists."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from app.settings import Settings
from app.store.database import migrate
from dev.postgres.cluster import THROWAWAY, Cluster

ROOT = migrate.ROOT
PYTHON = sys.executable
PLAIN = {**os.environ, "NO_COLOR": "1"}

Step = Callable[[], tuple[int, str]]
"""A step of `check`: returns its exit code and its output."""

SQUAWK_EXCLUDED = {
    "ban-drop-constraint": "a list of values is extended by replacing its CHECK",
    "ban-create-domain-with-constraint": "the only domain limits values to what Python can read",
    "prefer-bigint-over-int": "these numbers are bounded by a CHECK or by manual use",
    "prefer-bigint-over-smallint": "a position up to 500; narrow rows keep the pipeline fast",
    "prefer-robust-stmts": "each migration is one transaction (migrations/env.py)",
    "prefer-text-field": "the only varchar is in Alembic's own version table",
    "require-timeout-settings": "migrations/env.py sets both on the connection",
}
"""Excluded squawk rules, each with its reason."""


TEST_FOLDERS = (ROOT / "tests", ROOT / "campaigns")
SLOW_FOLDERS = ("campaigns", "tests/crashes", "tests/edge")
SLOW_MODULES = re.compile(
    r"^(from|import) (playwright|tests\.(pipeline\.processes|console\.browsing|crashes|edge))\b", re.MULTILINE
)
"""`test --fast` leaves out the SLOW_FOLDERS, and modules that import what starts processes or a browser."""
FAST = "not long and not process and not campaign"


def test_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--fast`. Every other argument is handed to pytest."""
    parser.add_argument(
        "--fast", action="store_true", help="no browser, no processes, no campaigns, no proxies"
    )
    parser.set_defaults(rest=[])


def test(_settings: Settings, arguments: argparse.Namespace) -> int:
    """Run the tests with pytest."""
    cores = os.cpu_count() or 1
    # More processes than cores, because many tests wait. The fast tests spend two thirds of their time
    # waiting.
    count = 5 * cores // 2 if arguments.fast else 2 * cores
    # Each module as a whole, in the order of conftest.py: its product and its browser start once.
    several = ["-n", str(count), "--dist", "loadfile", "--no-loadscope-reorder"]
    workers = [] if any(word.startswith("-n") for word in arguments.rest) else several
    options = []
    if arguments.fast:
        modules = sorted(path for folder in TEST_FOLDERS for path in folder.rglob("test_*.py"))
        options = ["-m", FAST, *(f"--ignore={path}" for path in modules if is_slow(path))]
    return _call([PYTHON, "-m", "pytest", *workers, *options, *arguments.rest])


def is_slow(path: Path) -> bool:
    """Return whether `test --fast` leaves out a module of tests."""
    name = path.relative_to(ROOT).as_posix()
    return name.startswith(SLOW_FOLDERS) or SLOW_MODULES.search(path.read_text()) is not None


def campaign_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the name of a campaign. Every other argument is handed to the campaign."""
    parser.add_argument("words", metavar="NAME …", nargs=argparse.REMAINDER, help="no name lists them all")


def campaign(_settings: Settings, arguments: argparse.Namespace) -> int:
    """Run a campaign (docs/campaigns.md)."""
    return _call([PYTHON, "-m", "campaigns", *arguments.words])


def run(_settings: Settings, _arguments: argparse.Namespace) -> int:
    """Run the steps of `check` side by side, then the tests unless a step failed."""
    failed = failed_steps(STEPS)
    if failed:
        sys.stdout.write(f"\nfailed: {', '.join(failed)}\n")
        return 1
    started = time.monotonic()
    sys.stdout.write("\n=== tests\n")
    code = _call([str(ROOT / "run"), "test"])
    sys.stdout.write(f"--- tests: {time.monotonic() - started:.1f} s\n")
    return code


def failed_steps(steps: Iterable[tuple[str, Step]]) -> list[str]:
    """Run steps side by side. Write the output of each that fails, and return the names of these."""
    failed = []
    with ThreadPoolExecutor() as pool:
        results = {name: pool.submit(_measured, step) for name, step in steps}
        for name, result in results.items():
            code, output, seconds = result.result()
            if code:
                failed.append(name)
                sys.stdout.write(f"\n=== {name}\n{output}")
            sys.stdout.write(f"--- {name}: {seconds:.1f} s\n")
            sys.stdout.flush()
    return failed


def _measured(step: Step) -> tuple[int, str, float]:
    """Return the exit code of a step, its output and its seconds. An exception is a failure, too."""
    started = time.monotonic()
    try:
        code, output = step()
    except Exception:
        code, output = 1, traceback.format_exc()
    return code, output, time.monotonic() - started


def _migrations() -> tuple[int, str]:
    """Migrate an empty database up, down and up again, and compare the schemas; then run squawk."""
    with tempfile.TemporaryDirectory(prefix="conversions-check-") as folder:
        Path(folder).chmod(0o755)
        cluster = Cluster(Path(folder), settings=THROWAWAY)
        cluster.start()
        try:
            migrate.upgrade(cluster.url)
            first = cluster.schema()
            migrate.downgrade(cluster.url)
            empty = cluster.schema()
            migrate.upgrade(cluster.url)
            second = cluster.schema()
        finally:
            cluster.stop()
    left = set(re.findall(r"^CREATE (?!TABLE public\.alembic_version).*", empty, re.MULTILINE))
    if left:
        return 1, "Objects remain after the downgrade:\n  " + "\n  ".join(sorted(left)) + "\n"
    if first != second:
        return 1, "The schemas after up and after up, down, up differ.\n"
    return _squawk()


def _squawk() -> tuple[int, str]:
    """Report statements that would stop a live database. Alembic cannot write them beside a migration."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "migrations.sql")
        script.write_text(migrate.as_sql())
        excluded = [f"--exclude={rule}" for rule in SQUAWK_EXCLUDED]
        return _tool("squawk", "--pg-version", "15.0", *excluded, str(script))()


def _tool(name: str, *words: str) -> Step:
    command = [str(Path(PYTHON).with_name(name)), *words]
    return partial(_output_of, command)


def _output_of(command: Sequence[str]) -> tuple[int, str]:
    """Return the exit code of a command, and what it wrote."""
    done = subprocess.run(
        command, cwd=ROOT, env=PLAIN, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


STEPS: Sequence[tuple[str, Step]] = (
    ("format", _tool("ruff", "format", "--check", ".")),
    ("lint", _tool("ruff", "check", ".")),
    ("types", _tool("mypy")),
    # Compiles the tests, too: otherwise each process of the tests compiles all of them.
    ("collection", partial(_output_of, [PYTHON, "-m", "pytest", "--collect-only", "-qq"])),
    ("imports", _tool("lint-imports")),
    ("migrations", _migrations),
)


def lock(_settings: Settings, _asked: argparse.Namespace) -> int:
    """Write the requirement lists with the newest versions that pyproject.toml allows.

    The file uv.lock is deleted, because it contains the address of the package registry.
    """
    uv = [PYTHON, "-m", "uv", "--no-cache", "-q"]
    export = [*uv, "export", "--no-emit-project", "--no-header", "--no-annotate", "--frozen"]
    lists = {
        "runtime.txt": ["--no-dev"],
        "otlp.txt": ["--no-dev", "--extra", "otlp"],
        "compile.txt": ["--only-group", "compile"],
        "dev.txt": ["--all-groups"],
    }
    code = _call([*uv, "lock", "--upgrade"])
    for name, groups in lists.items():
        code = code or _call([*export, *groups, "-o", str(ROOT / "requirements" / name)])
    (ROOT / "uv.lock").unlink(missing_ok=True)
    return code


def _call(command: Sequence[str]) -> int:
    sys.stdout.flush()
    return subprocess.call(command, cwd=ROOT, env=PLAIN)
