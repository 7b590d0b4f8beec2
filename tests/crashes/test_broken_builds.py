"""Each guard is taken out once, and the suite must turn red for it: a check that cannot fail is a defect."""

from dataclasses import replace

import pytest

from tests.crashes.builds import BROKEN, faulty_module, run


@pytest.mark.parametrize("name", BROKEN)
def test_a_build_that_is_broken(cluster: str, name: str) -> None:
    """... turns its test red, and the test names the promise that was not kept."""
    build = BROKEN[name]
    ended = run(name, [build.test], cluster)
    assert ended.returncode == 1, ended.stdout[-2_000:] + ended.stderr[-2_000:]
    assert "1 failed" in ended.stdout
    assert build.says in ended.stdout, ended.stdout[-4_000:]


def test_the_same_tests_are_green_on_the_unbroken_product(cluster: str) -> None:
    """So that it is the missing guard that turns them red, and not the way they are run."""
    tests = {build.test for build in BROKEN.values()}
    ended = run(None, sorted(tests), cluster)
    assert ended.returncode == 0, ended.stdout[-4_000:]
    assert f"{len(tests)} passed" in ended.stdout


def test_a_guard_whose_text_is_gone_is_noticed() -> None:
    """A replacement that replaces nothing must not pass for a broken build."""
    gone = replace(next(iter(BROKEN.values())), text="this was never there")
    with pytest.raises(AssertionError, match="no longer reads"):
        faulty_module(gone)
