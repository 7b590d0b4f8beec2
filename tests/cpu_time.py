"""Pytest plugin of `./run test --slowest`: the CPU time of each test, of each module and of each folder.

On a machine with few cores CPU time bounds the suite, not waiting. A test's time is that of its pytest
process and of the processes that it started and that ended with it. Fixtures of a module or a session count
for the first test that uses them. Postgres of the run belongs to no test; its time is a line of its own.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import RUNNING

NAME = "cpu seconds"
ROWS = 40
_TICKS = os.sysconf("SC_CLK_TCK")


def own_time() -> float:
    """Return the CPU seconds of this process and of its children that ended."""
    return sum(os.times()[:4])


def tree_time(pid: int) -> float:
    """Return the CPU seconds of another process, of its children that ended and of those that run."""
    seconds = 0.0
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seconds = sum(int(field) for field in fields[11:15]) / _TICKS
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return seconds
    return seconds + sum(tree_time(int(child)) for child in children)


class CpuTimes:
    """Measures in the process that runs a test; sums up in the process that prints the report."""

    def __init__(self) -> None:
        self.tests: Counter[str] = Counter()
        self.started = own_time()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.started = own_time()
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> None:
        """Add the time since the phase before to the report of a phase."""
        now = own_time()
        item.user_properties[:] = [(NAME, now - self.started)]
        self.started = now

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tests[report.nodeid] += sum(value for name, value in report.user_properties if name == NAME)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        modules: Counter[str] = Counter()
        folders: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for name, seconds in self.tests.items():
            path = name.partition("::")[0]
            folder = "/".join(path.split("/")[:2])
            modules[path] += seconds
            folders[folder] += seconds
            sizes[folder] += 1
            sizes[path] += 1
        line = terminalreporter.write_line
        terminalreporter.section("CPU seconds")
        if RUNNING in config.stash:
            line(f"{tree_time(config.stash[RUNNING].pid):9.1f}              Postgres of the run")
        for name, seconds in folders.most_common():
            line(f"{seconds:9.1f}  {sizes[name]:5} tests  {name}")
        line(f"{sum(folders.values()):9.1f}  {len(self.tests):5} tests")
        terminalreporter.section("costliest modules")
        for name, seconds in modules.most_common(ROWS):
            line(f"{seconds:9.1f}  {sizes[name]:5} tests  {name}")
        terminalreporter.section("costliest tests")
        for name, seconds in self.tests.most_common(ROWS):
            line(f"{seconds:9.2f}  {name}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(CpuTimes(), "cpu-times")
