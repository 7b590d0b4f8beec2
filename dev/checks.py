"""`check`, `test` and `lock`: what a change must pass, the same here and in CI."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.settings import Settings
from app.store import migrate
from dev.postgres.cluster import THROWAWAY, Cluster

ROOT = migrate.ROOT
PYTHON = sys.executable

SQUAWK_EXCLUDED = {
    "ban-drop-constraint": "a list of words is widened by dropping its CHECK and adding it anew",
    "ban-create-domain-with-constraint": "the one domain bounds what Python can read; it never changes",
    "prefer-bigint-over-int": "counts and numbers that are bounded by a CHECK or by how people work",
    "prefer-bigint-over-smallint": "a place among 500, and a narrow row is why the road is fast",
    "prefer-robust-stmts": "each migration is one transaction (migrations/env.py): none is ever half done",
    "prefer-text-field": "the only varchar is in Alembic's own version table",
    "require-timeout-settings": "migrations/env.py sets both on the connection",
}
"""Rules of squawk that do not apply here, each with its reason; all others do."""


def rest(parser: argparse.ArgumentParser) -> None:
    """Leave every argument to pytest."""
    parser.set_defaults(rest=[])


def test(_settings: Settings, asked: argparse.Namespace) -> int:
    """Run the tests, on as many processes as there are cores unless pytest is told otherwise."""
    mine = [] if any(word.startswith("-n") for word in asked.rest) else ["-n", "auto"]
    return _call([PYTHON, "-m", "pytest", *mine, *asked.rest])


def run(_settings: Settings, _asked: argparse.Namespace) -> int:
    """Run every step; stop at the first that fails."""
    for name, step in STEPS:
        sys.stdout.write(f"\n=== {name}\n")
        sys.stdout.flush()
        started = time.monotonic()
        if (code := step()) != 0:
            sys.stdout.write(f"\n{name}: failed\n")
            return code
        sys.stdout.write(f"--- {name}: {time.monotonic() - started:.1f} s\n")
    return 0


def _migrations() -> int:
    """Up on an empty database, down to nothing, and up to the same schema again."""
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
        sys.stdout.write("Down leaves behind:\n  " + "\n  ".join(sorted(left)) + "\n")
        return 1
    if first != second:
        sys.stdout.write("Up, down, up does not lead back to the schema of up.\n")
        return 1
    return 0


def _squawk() -> int:
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "migrations.sql")
        written.write_text(migrate.as_sql())
        return _call(
            [
                str(Path(PYTHON).with_name("squawk")), "--pg-version", "15.0",
                *(f"--exclude={rule}" for rule in SQUAWK_EXCLUDED), str(written),
            ]
        )  # fmt: skip


def _tool(*words: str) -> Callable[[], int]:
    return lambda: _call([str(Path(PYTHON).with_name(words[0])), *words[1:]])


STEPS: Sequence[tuple[str, Callable[[], int]]] = (
    ("format", _tool("ruff", "format", "--check", ".")),
    ("lint", _tool("ruff", "check", ".")),
    ("types", _tool("mypy")),
    ("imports", _tool("lint-imports")),
    ("migrations", _migrations),
    ("migrations on a live database", _squawk),
    ("tests", lambda: _call([str(ROOT / "run"), "test"])),
)


def lock(_settings: Settings, _asked: argparse.Namespace) -> int:
    """Write the lists anew, newest versions that pyproject.toml allows; no host name gets into them."""
    uv = [PYTHON, "-m", "uv", "--no-cache", "-q"]
    export = [*uv, "export", "--no-emit-project", "--no-header", "--no-annotate", "--frozen"]
    lists = {"runtime.txt": ["--no-dev"], "dev.txt": ["--all-groups"]}
    code = _call([*uv, "lock", "--upgrade"])
    for name, groups in lists.items():
        code = code or _call([*export, *groups, "-o", str(ROOT / "requirements" / name)])
    # Not committed: it names the registry it was made from.
    (ROOT / "uv.lock").unlink(missing_ok=True)
    return code


def _call(command: Sequence[str]) -> int:
    sys.stdout.flush()
    return subprocess.call(command, cwd=ROOT, env={**os.environ, "NO_COLOR": "1"})
