"""What the commands of several campaigns need: seeds, the tested commit, a database, and logs that stay."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
say = partial(print, flush=True)


def commit() -> str:
    """Return the short name of the commit that is tested; empty outside of a repository."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def seeds(written: str) -> range:
    """Return the seeds of `A-B`, or of one number."""
    first, _, last = written.partition("-")
    return range(int(first), int(last or first) + 1)


@contextmanager
def throwaway_database() -> Iterator[str]:
    """Run a Postgres in memory; yield the address of a migrated database."""
    from tests.databases import TEMPLATE, ThrowawayCluster

    cluster = ThrowawayCluster()
    try:
        yield cluster.address(TEMPLATE)
    finally:
        cluster.close()


def keep_logs(folder: Path, name: str) -> Path:
    """Copy the logs and records of a stage to the folder for temporary files; return where they are."""
    into = Path(tempfile.gettempdir()) / name
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    for found in [*folder.glob("*.log"), *folder.glob("*.jsonl")]:
        shutil.copy(found, into)
    return into
