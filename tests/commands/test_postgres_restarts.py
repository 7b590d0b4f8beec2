"""One failed start of Postgres does not end `./run`: it is tried again, five times a minute."""

import pytest

from dev.child_processes import RESTARTS, Children
from dev.launcher import _watch
from dev.postgres.cluster import EmbeddedError


class Flaky:
    """A Postgres that has ended; its next `failures` starts fail."""

    def __init__(self, failing: int) -> None:
        self.failing = failing
        self.starts = 0
        self.is_alive = False

    def alive(self) -> bool:
        if self.is_alive:
            raise KeyboardInterrupt  # all that was wanted has come about
        return False

    def start(self) -> None:
        self.starts += 1
        if self.starts <= self.failing:
            raise EmbeddedError("Postgres did not start: it printed nothing.")
        self.is_alive = True


def test_a_start_that_fails_is_tried_again(capfd: pytest.CaptureFixture[str]) -> None:
    """With a sentence for who looks at the terminal."""
    postgres = Flaky(failing=2)
    with pytest.raises(KeyboardInterrupt):
        _watch(Children({}, print), postgres, every_s=0.01)
    assert postgres.starts == 3
    output = capfd.readouterr().err
    assert output.count("Postgres did not start: it printed nothing. Retrying.") == 2


def test_starts_that_keep_failing_end_it(capfd: pytest.CaptureFixture[str]) -> None:
    """As for every other process: more would only hide the fault."""
    postgres = Flaky(failing=100)
    assert _watch(Children({}, print), postgres, every_s=0.01) == 1
    assert postgres.starts == RESTARTS
    assert "Postgres keeps exiting. Stopping." in capfd.readouterr().err
