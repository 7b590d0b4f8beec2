"""Builds that are broken on purpose: a copy of the product with one guard taken out.

A replacement whose text is gone fails loudly: a broken build that is none would prove nothing.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.lent_cluster import ADDRESS

ROOT = Path(__file__).resolve().parents[2]
TAKEN_ALONG = ("app", "dev", "sandbox", "tests/chaos", "pyproject.toml")


@dataclass(frozen=True, slots=True)
class Build:
    """One guard taken out of one file, the test that must notice, and a word of how it must say so."""

    file: str
    text: str
    instead: str
    test: str
    says: str


_ANSWERS = """\
        for request, evaluated, results in zip(requests, flush.evaluated, flush.results, strict=True):
            if not request.response.done():
                request.response.set_result(RequestResults(evaluated, results))
"""

BROKEN: Mapping[str, Build] = {
    "acknowledges before the commit": Build(
        "app/ingest/group_commit.py",
        "                await self._writer.write(connection, flush)\n",
        "                await self._writer.write(connection, flush)\n"
        + "".join(f"        {line}\n" for line in _ANSWERS.splitlines())
        + "                await asyncio.sleep(0.02)\n",
        "test_what_was_acknowledged_before_the_commit_failed_is_stored",
        "acknowledged_is_stored",
    ),
    "acknowledges before the one call ended": Build(
        "app/ingest/group_commit.py",
        "            return flush if await self._writer.write_in_one_round_trip(connection, flush, versions) "
        "else None\n",
        "            writing = asyncio.create_task("
        "self._writer.write_in_one_round_trip(connection, flush, versions))\n"
        "            await asyncio.sleep(0)\n"
        + "".join(f"    {line}\n" for line in _ANSWERS.splitlines())
        + "            await asyncio.sleep(0.02)\n            return flush if await writing else None\n",
        "test_what_was_acknowledged_before_the_one_call_failed_is_stored",
        "acknowledged_is_stored",
    ),
    "settles without looking at the fence": Build(
        "app/store/attempts.py",
        "AND EXISTS (SELECT FROM lanes WHERE id = $3 AND fence = $4 FOR SHARE)",
        "AND ($3::int, $4::bigint) IS NOT NULL",
        "test_a_worker_that_wakes_after_its_lease_changes_nothing",
        "assert await everything(stage.office) == before",
    ),
    "settles at one stroke without looking at the fence": Build(
        "app/store/deliveries.py",
        "AND EXISTS (SELECT FROM lanes WHERE id = $3 AND fence = $4 FOR SHARE)",
        "AND ($3::int, $4::bigint) IS NOT NULL",
        "test_a_worker_that_wakes_after_its_lease_changes_nothing",
        "assert await everything(stage.office) == before",
    ),
    "renders a retry anew": Build(
        "app/delivery/delivery.py",
        "conversions=[item.body for item in request.content.items],",
        'conversions=[item.body if not item.tries else b" " + item.body[:1] + b" " + item.body[1:] '
        "for item in request.content.items],",
        "test_what_is_sent_again_is_sent_in_the_same_bytes",
        "one_wording_each",
    ),
    "takes an empty 207 for success": Build(
        "app/amazon/wire.py",
        'return ItemUnknown("missing_index")',
        "return ItemAccepted()",
        "test_a_207_that_names_nobody_delivers_nobody",
        "delivered_was_taken",
    ),
    "reads batches forward only": Build(
        "app/store/batches.py",
        "AND batch <> ALL($2::bigint[]) ORDER BY due_at, batch LIMIT $3),",
        "AND batch <> ALL($2::bigint[]) AND batch > coalesce((SELECT max(b.batch) FROM batch_states b "
        "WHERE b.destination = $1 AND b.settled_at IS NOT NULL), 0) ORDER BY due_at, batch LIMIT $3),",
        "test_a_batch_that_commits_late_is_not_passed_by",
        "everything_ends",
    ),
}


def copy(into: Path, build: Build | None) -> None:
    """Copy what a test run needs, with one guard taken out. Raises AssertionError when the text is gone."""
    for name in TAKEN_ALONG:
        source, target = ROOT / name, into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    shutil.copy(ROOT / "tests/chaos/lent_cluster.py", into / "tests/conftest.py")
    if build is not None:
        path = into / build.file
        before = path.read_text()
        assert before.count(build.text) == 1, f"{build.file} no longer reads as this build expects"
        path.write_text(before.replace(build.text, build.instead))


def run(folder: Path, tests: Sequence[str], cluster: str) -> subprocess.CompletedProcess[str]:
    """Run some of the promises against a copy, in a process of their own, on the cluster at this address."""
    named = [f"tests/chaos/test_promises.py::{test}" for test in tests]
    quick = ["-n", "0", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *quick, *named],
        cwd=folder,
        env={
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            ADDRESS: cluster,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
