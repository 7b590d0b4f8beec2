"""Hold the tests of `./run test --fast` to their promise: they start no process and no browser.

A module of SLOW_FOLDERS, or one that imports what starts the product or a browser, is marked `process` when
collected (dev/checks.py). Any other test that starts a process has `@pytest.mark.process`, or fails.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dev.checks import is_slow

MARK = "process"
GUARD = pytest.StashKey["ProcessGuard"]()
_STARTS = frozenset(
    {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system"}
)


class ProcessGuard:
    """Refuses to start a process while a test without the mark runs."""

    def __init__(self) -> None:
        self._is_active = False
        self.refused: list[str] = []
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._is_active and event in _STARTS:
            self.refused.append(f"{event} {arguments[:1]}")
            raise PermissionError(f"{event}: a test without the mark `{MARK}` starts a process")

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Allow it: the run's own Postgres starts when the first test needs it."""
        was_active, self._is_active = self._is_active, False
        try:
            yield
        finally:
            self._is_active = was_active

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        slow: dict[Any, bool] = {}
        for item in items:
            if item.path not in slow:
                slow[item.path] = is_slow(item.path)
            if slow[item.path]:
                item.add_marker(MARK)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._is_active = item.get_closest_marker(MARK) is None
        self.refused.clear()
        try:
            return (yield)
        finally:
            self._is_active = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Fail a test that caught the refusal, too."""
        result = yield
        assert not self.refused, f"{item.nodeid} starts a process: mark it `{MARK}`: {self.refused}"
        return result
