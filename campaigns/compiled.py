"""Run the tests with compiled modules, as the image has them; arguments go to pytest.

The tests of the repository need a checkout, and are left out.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from campaigns.running import ROOT
from dev.compiled import compiled_copy, environment_of, modules


def run_tests(arguments: Sequence[str]) -> int:
    """Run pytest in a compiled copy of this checkout. Return its exit code."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "project"
        compiled_copy(ROOT, folder)
        assert len(list(folder.glob("app/**/*.so"))) == len(modules(folder)) > 0
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(command, cwd=folder, env=environment_of(folder), check=False).returncode


def main() -> int:
    """Run all tests, or those that the command names."""
    _, arguments = argparse.ArgumentParser(description=__doc__).parse_known_args()
    return run_tests(arguments or ["-q", "-n", "2", "--ignore", "tests/project"])
