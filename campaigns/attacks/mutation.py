"""`./run campaign mutation [PART …]`: put a fault into a module, run its tests, expect a failure.

One mutant after another, each in a forked process whose import of the module finds the faulty code: no file
changes. Prints the score and the survivors of each module; ends with 1 when a score is below 90 %.
"""

import argparse
import ast
import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from campaigns.attacks.mutants import mutants
from campaigns.running import commit
from tests.faulty_module import ROOT, FaultyModule

REQUIRED = 0.90
# Loaded once, before the forks. Nothing of `app` is among them.
PRELOADED = (
    *(
        "hypothesis",
        "pytest_asyncio.plugin",
        "_hypothesis_pytestplugin",
        "msgspec",
        "phonenumbers",
        "jsonschema",
    ),
    *("asyncpg", "sqlalchemy.ext.asyncio", "fastapi", "httpx", "prometheus_client"),
)

# The modules of each part, and the tests that must find a fault in them: the fastest first.
Part = Mapping[str, tuple[str, ...]]


def _tests(names: str, folder: str = "domain") -> tuple[str, ...]:
    return tuple(f"tests/{folder}/test_{name}.py" for name in names.split())


OUTCOME_TESTS = _tests("settling event_status")
IDENTITY_TESTS = _tests("vectors dropped places laws", "domain/identity")
CONVERSION_TESTS = _tests(
    "conversion_values conversion unreadable_values consent preview time_steps number_steps sources "
    "timestamps list_steps conversion_laws mapping_documents"
)
FLUSH_TESTS = (*_tests("commit_queue"), *_tests("single_round_trip_flush ingest ledger_model", "pipeline"))


def _modules(folder: str, names: str, tests: tuple[str, ...]) -> Part:
    return {f"{folder}/{name}.py": tests for name in names.split()}


PARTS: dict[str, Part] = {
    "events": {"app/domain/event.py": _tests("ledger_keys event_bodies event_metadata")},
    "settlement": {"app/domain/outcomes/settle.py": OUTCOME_TESTS},
    "outcomes": {
        **_modules("app/domain/outcomes", "status event_history", OUTCOME_TESTS),
        "app/domain/outcomes/outcome.py": (*OUTCOME_TESTS, *_tests("amazons_words", "amazon")),
    },
    "admission": {"app/domain/admission.py": _tests("admission")},
    # Each module by the tests of its rules; the simulations of test_lanes.py show what they do together.
    "pacing": {
        **{f"app/domain/pacing/{name}.py": _tests(name) for name in ("lane_limits", "inbound_limit")},
        "app/domain/pacing/order.py": _tests("order lane_limits"),
        **{f"app/domain/pacing/{name}.py": _tests(f"{name} lanes") for name in ("pace", "rate_estimator")},
    },
    "identity": {
        **_modules("app/domain/identity", "__init__ keys identifiers placeholders profiles", IDENTITY_TESTS),
        **_modules(
            "app/domain/identity",
            "phones",
            (*_tests("phone_numbers", "domain/identity"), *_tests("erasure_keys"), *IDENTITY_TESTS),
        ),
    },
    "conversion": _modules(
        "app/domain/conversion",
        "convert members steps values numbers timestamps consent tcf",
        CONVERSION_TESTS,
    ),
    # The rest on a real Postgres that all mutants share, each with a database of its own.
    "flush": _modules("app/ingest", "dedup flush_writer group_commit", FLUSH_TESTS),
    "event_history": {
        "app/admin/events/history.py": (*_tests("event_descriptions"), *_tests("event_histories", "pipeline"))
    },
}
WITH_DATABASE = frozenset({"event_history", "flush"})
# Tests that compare times.
TOO_SLOW = "not makes_a_rule_slow and not long_run_of_digits"


class LentCluster:
    """A pytest plugin: `conftest.py` takes this process for an xdist worker, and uses this cluster."""

    def __init__(self, address: str) -> None:
        self._address = address

    def pytest_configure(self, config: Any) -> None:
        config.workerinput = {"cluster": self._address}

    @pytest.fixture(scope="session")
    def worker_id(self) -> str:
        return f"mutant_{os.getpid()}"


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """Run a Postgres in another process, so that this one imports nothing of `app`; yield its address."""
    code = (
        "import sys; from tests.databases import ThrowawayCluster; made = ThrowawayCluster(); "
        "print(made.address('{}'), flush=True); sys.stdin.read(); made.close()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield child.stdout.readline().strip()
    finally:
        child.stdin.close()
        child.wait(60)


def run_tests(path: Path, tree: ast.Module, tests: Sequence[str], limit_s: float, address: str | None) -> str:
    """Run the tests on a module with this code, in a process; return `passed`, `failed` or `hung`."""
    child = os.fork()
    if not child:
        os._exit(_in_child(path, tree, tests, address))
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "passed" if os.waitstatus_to_exitcode(status) == 0 else "failed"
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def _in_child(path: Path, tree: ast.Module, tests: Sequence[str], address: str | None) -> int:
    import hypothesis

    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    sys.meta_path.insert(0, FaultyModule(path, tree))
    # The same few examples for every mutant. The first failure is enough: no smaller one is sought.
    hypothesis.settings.register_profile(
        "mutation",
        max_examples=40,
        derandomize=True,
        deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        report_multiple_bugs=False,
    )
    hypothesis.settings.load_profile("mutation")
    # Of the plugins only these two: looking for others takes as long as the tests.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin"]
    options += ["-p", "_hypothesis_pytestplugin", "-k", TOO_SLOW]
    # No one reads the failure: assertions are not rewritten, and nothing is collected at the end.
    options += ["--assert=plain", "-p", "no:unraisableexception", "-p", "no:threadexception"]
    gc.disable()
    try:
        if address is None:
            return int(pytest.main([*options, "--noconftest", *tests]))
        return int(pytest.main([*options, *tests], plugins=[LentCluster(address)]))
    except BaseException:  # a fault may end the process in any way
        return 3


def measure(name: str, tests: Sequence[str], address: str | None, every: int, first: int) -> tuple[int, int]:
    """Print the survivors of a module; return how many mutants were killed and how many were tested."""
    path = ROOT / name
    source = path.read_text()
    begun = time.monotonic()
    if run_tests(path, ast.parse(source), tests, 300, address) != "passed":
        raise SystemExit(f"{name}: its tests fail without a fault")
    limit_s = 10 + 5 * (time.monotonic() - begun)
    survived, total = 0, 0
    for mutant in islice(mutants(source), first, None, every):
        total += 1
        if run_tests(path, mutant.tree, tests, limit_s, address) == "passed":
            survived += 1
            print(f"    {mutant}", flush=True)
    return total - survived, total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all of them")
    parser.add_argument("--module", action="append", default=[], help="only modules whose path holds this")
    parser.add_argument("--every", type=int, default=1, help="only each Nth mutant, where all take too long")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    options = parser.parse_args()
    for package in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)
    gc.freeze()
    print(f"commit {commit()}", flush=True)
    good = True
    for part in options.parts or PARTS:
        with cluster() if part in WITH_DATABASE else contextlib.nullcontext() as address:
            for name, tests in PARTS[part].items():
                if options.module and not any(word in name for word in options.module):
                    continue
                begun = time.monotonic()
                killed, total = measure(name, tests, address, options.every, options.first)
                share = killed / total if total else 1.0
                good = good and share >= REQUIRED
                took_s = time.monotonic() - begun
                print(f"{part} {name}: {killed} of {total} killed, {share:.0%}, {took_s:.0f} s", flush=True)
    return 0 if good else 1
