"""`python -m tests.attacks.mutation [PART …]`: put a fault into a module, run its tests, expect a failure.

One mutant after another, each in a forked process whose import of the module finds the faulty code: no file
changes. Prints the score and the survivors of each module; ends with 1 when a score is below 90 %.
"""

import argparse
import ast
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.attacks.mutants import Mutant, mutants
from tests.faulty_module import ROOT, FaultyModule

REQUIRED = 0.90
# Loaded once, before the forks. Nothing of `app` is among them.
PRELOADED = ("hypothesis", "pytest", "pytest_asyncio", "msgspec", "phonenumbers", "jsonschema")

# The modules of each part, and the tests that must find a fault in them: the fastest first.
OUTCOME_TESTS = (
    "tests/domain/test_settling.py",
    "tests/domain/test_event_status.py",
    "tests/domain/test_endpoint.py",
    "tests/domain/test_explaining.py",
    "tests/domain/test_reasons.py",
)
PACING_TESTS = (
    "tests/domain/test_watermarks.py",
    "tests/domain/test_lane_limits.py",
    "tests/domain/test_lanes.py",
)
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ledger": (("app/domain/ledger_keys.py",), ("tests/domain/test_ledger_keys.py",)),
    "settlement": (("app/domain/outcomes/settle.py",), OUTCOME_TESTS),
    "outcomes": (
        (
            "app/domain/outcomes/outcome.py",
            "app/domain/outcomes/missing_endpoint.py",
            "app/domain/outcomes/status.py",
            "app/domain/outcomes/explain.py",
            "app/domain/outcomes/event_history.py",
        ),
        OUTCOME_TESTS,
    ),
    "admission": (
        ("app/domain/admission.py",),
        ("tests/domain/test_admission.py", "tests/domain/test_admission_edges.py"),
    ),
    "pacing": (
        tuple(
            f"app/domain/pacing/{name}.py"
            for name in (
                "watermarks",
                "fair_queueing",
                "circuit_breaker",
                "token_bucket",
                "lane_limits",
                "rate_estimator",
                "capacity_hypotheses",
            )
        ),
        PACING_TESTS,
    ),
    "identity": (
        tuple(
            f"app/domain/identity/{name}.py"
            for name in (
                "__init__",
                "emails",
                "phones",
                "identifiers",
                "placeholders",
                "letters",
                "addresses",
                "states",
                "profiles",
                "showing",
            )
        ),
        (
            "tests/domain/identity/test_vectors.py",
            "tests/domain/identity/test_dropped.py",
            "tests/domain/identity/test_places.py",
            "tests/domain/identity/test_phone_numbers.py",
            "tests/domain/identity/test_laws.py",
        ),
    ),
}
# Simulations of minutes: what they show is shown by the cases too, and each would run for every mutant.
TOO_SLOW = "not moves_is_followed and not stays_costs and not most_of_it_is_used"


def run_tests(path: Path, tree: ast.Module, tests: Sequence[str], limit_s: float) -> str:
    """Run the tests on a module with this code, in a process; return `passed`, `failed` or `hung`."""
    child = os.fork()
    if not child:
        os._exit(_in_child(path, tree, tests))
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "passed" if os.waitstatus_to_exitcode(status) == 0 else "failed"
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def _in_child(path: Path, tree: ast.Module, tests: Sequence[str]) -> int:
    import hypothesis
    import pytest

    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    sys.meta_path.insert(0, FaultyModule(path, tree))
    # The same examples for every mutant, and few of them.
    hypothesis.settings.register_profile("mutation", max_examples=40, derandomize=True, deadline=None)
    hypothesis.settings.load_profile("mutation")
    options = ["-x", "-q", "--noconftest", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", TOO_SLOW]
    try:
        return int(pytest.main([*options, *tests]))
    except BaseException:  # a fault may end the process in any way
        return 3


def measure(name: str, tests: Sequence[str]) -> tuple[int, int, list[Mutant]]:
    """Return how many mutants of a module were killed, how many there are, and the survivors."""
    path = ROOT / name
    source = path.read_text()
    begun = time.monotonic()
    if run_tests(path, ast.parse(source), tests, 300) != "passed":
        raise SystemExit(f"{name}: its tests fail without a fault")
    limit_s = 20 + 5 * (time.monotonic() - begun)
    survivors, total = [], 0
    for mutant in mutants(source):
        total += 1
        if run_tests(path, mutant.tree, tests, limit_s) == "passed":
            survivors.append(mutant)
            print(f"    {mutant}", flush=True)
    return total - len(survivors), total, survivors


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.mutation", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all of them")
    parser.add_argument("--module", action="append", default=[], help="only modules whose path holds this")
    options = parser.parse_args()
    for package in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    print(f"commit {commit.stdout.strip()}", flush=True)
    good = True
    for part in options.parts or PARTS:
        modules, tests = PARTS[part]
        existing = [test for test in tests if (ROOT / test).exists()]
        for name in modules:
            if options.module and not any(word in name for word in options.module):
                continue
            begun = time.monotonic()
            killed, total, _ = measure(name, existing)
            share = killed / total if total else 1.0
            good = good and share >= REQUIRED
            took_s = time.monotonic() - begun
            print(f"{part} {name}: {killed} of {total} killed, {share:.0%}, {took_s:.0f} s", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
