"""Builds with one guard removed: the test of the guard must fail."""

from dataclasses import replace

import pytest

from tests.crashes import test_promises
from tests.crashes.builds import BROKEN, faulty_module, run

LONG = [pytest.param(name, marks=pytest.mark.long) for name in list(BROKEN)[1:]]


@pytest.mark.parametrize("name", [*list(BROKEN)[:1], *LONG])
def test_a_broken_build_fails_its_test(cluster: str, name: str) -> None:
    """The failure names the rule that the build breaks."""
    build = BROKEN[name]
    ended = run(name, [build.test], cluster)
    assert ended.returncode == 1, ended.stdout[-2_000:] + ended.stderr[-2_000:]
    assert "1 failed" in ended.stdout
    assert build.says in ended.stdout, ended.stdout[-4_000:]


@pytest.mark.parametrize("name", BROKEN)
def test_the_text_of_a_guard_is_current(name: str) -> None:
    """A replacement that replaces nothing is an error."""
    faulty_module(BROKEN[name])
    with pytest.raises(AssertionError, match="no longer reads"):
        faulty_module(replace(BROKEN[name], text="this was never there"))


def test_every_guard_has_a_test() -> None:
    """They are green on the product itself: `./run test` runs them."""
    tests = {name for name, value in vars(test_promises).items() if callable(value)}
    assert {build.test for build in BROKEN.values()} <= tests
