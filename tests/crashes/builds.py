"""Builds that are broken on purpose: the product with one guard taken out.

A test process imports one module with other code; no file changes. A replacement whose text is gone fails
loudly: a broken build that is none would prove nothing.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.faulty_module import ROOT, FaultyModule

CLUSTER = "CHAOS_CLUSTER"
"""Environment variable: the address of the cluster of the run, with `{}` for the name of a database."""
BUILD = "CHAOS_BUILD"
"""Environment variable: the name of a broken build."""


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
                request.evaluated, request.dedup = evaluated, results
                request.response.set_result(True)
"""

BROKEN: Mapping[str, Build] = {
    "acknowledges before the commit": Build(
        "app/ingest/group_commit.py",
        "            await self.writer.write(connection, flush)\n",
        "            await self.writer.write(connection, flush)\n"
        + "".join(f"    {line}\n" for line in _ANSWERS.splitlines())
        + "            import asyncio; await asyncio.sleep(0.02)\n",
        "test_what_was_acknowledged_before_the_commit_failed_is_stored",
        "acknowledged_is_stored",
    ),
    "acknowledges before the one call ended": Build(
        "app/ingest/group_commit.py",
        "            return flush if await self.writer.write_in_one_round_trip(connection, flush, versions) "
        "else None\n",
        "            import asyncio; writing = asyncio.create_task("
        "self.writer.write_in_one_round_trip(connection, flush, versions))\n"
        "            while not writing.done() and not all(map(all, flush.results)):\n"
        "                await asyncio.sleep(0)\n"
        "            if all(map(all, flush.results)):\n"
        + "".join(f"        {line}\n" for line in _ANSWERS.splitlines())
        + "            await asyncio.sleep(0.02)\n            return flush if await writing else None\n",
        "test_what_was_acknowledged_before_the_one_call_failed_is_stored",
        "acknowledged_is_stored",
    ),
    "settles without looking at the fence": Build(
        "app/store/attempts.sql",
        "AND EXISTS (SELECT FROM lanes WHERE id = $3 AND fence = $4 FOR KEY SHARE)\n",
        "AND ($3::int, $4::bigint) IS NOT NULL\n",
        "test_a_worker_that_wakes_after_its_lease_changes_nothing",
        "assert await everything(stage.office) == before",
    ),
    "settles at one stroke without looking at the fence": Build(
        "app/store/attempts.sql",
        "AND EXISTS (SELECT FROM lanes WHERE id = $3 AND fence = $4 FOR KEY SHARE) RETURNING",
        "AND ($3::int, $4::bigint) IS NOT NULL RETURNING",
        "test_a_worker_that_wakes_after_its_lease_changes_nothing",
        "assert await everything(stage.office) == before",
    ),
    "renders a retry anew": Build(
        "app/delivery/delivery.py",
        "conversions=[item.body for item in request.content.items],",
        'conversions=[item.body if not item.source.tries else b" " + item.body[:1] + b" " + item.body[1:] '
        "for item in request.content.items],",
        "test_what_is_sent_again_is_sent_in_the_same_bytes",
        "one_wording_each",
    ),
    "takes an empty 207 for success": Build(
        "app/amazon/wire.py",
        'return ItemUnknown("missing_index")',
        "return ItemAccepted()",
        "test_a_207_that_names_nobody_delivers_nobody",
        "delivered_was_accepted",
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


def faulty_module(build: Build) -> FaultyModule:
    """Return the module of a build, with its guard taken out. Raises AssertionError when the text is gone."""
    path = ROOT / build.file
    text = path.read_text()
    assert text.count(build.text) == 1, f"{build.file} no longer reads as this build expects"
    faulty = text.replace(build.text, build.instead)
    if path.suffix == ".sql":
        _, *parts = re.split(r"(?m)^-- name: (\w+)\n", faulty)
        path = path.with_suffix(".py")
        faulty = path.read_text().replace(
            "read_sql(__file__)", repr(dict(zip(parts[::2], parts[1::2], strict=True)))
        )
    return FaultyModule(path, ast.parse(faulty))


def run(name: str, tests: Sequence[str], cluster: str) -> subprocess.CompletedProcess[str]:
    """Run some of the promises on a build, in a process on the cluster of this run."""
    named = [f"tests/crashes/test_promises.py::{test}" for test in tests]
    plugins = ["-p", "pytest_asyncio.plugin", "-p", "tests.crashes.lent_cluster", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--noconftest", *plugins, *named],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "",
            CLUSTER: cluster,
            BUILD: name,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
