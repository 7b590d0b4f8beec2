"""Each guard is taken out once, and the suite must turn red for it: a check that cannot fail is a defect."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.builds import BROKEN, copy, run


@pytest.mark.parametrize("name", BROKEN)
def test_a_build_that_is_broken(tmp_path: Path, cluster: str, name: str) -> None:
    """... turns its test red, and the test names the promise that was not kept."""
    build = BROKEN[name]
    copy(tmp_path, build)
    ended = run(tmp_path, [build.test], cluster)
    assert ended.returncode == 1, ended.stdout[-2_000:] + ended.stderr[-2_000:]
    assert "1 failed" in ended.stdout
    assert build.says in ended.stdout, ended.stdout[-4_000:]


def test_the_same_copy_unbroken_is_green(tmp_path: Path, cluster: str) -> None:
    """So that it is the missing guard that turns them red, and not the copying."""
    copy(tmp_path, None)
    tests = {build.test for build in BROKEN.values()}
    ended = run(tmp_path, sorted(tests), cluster)
    assert ended.returncode == 0, ended.stdout[-4_000:]
    assert f"{len(tests)} passed" in ended.stdout


def test_a_guard_whose_text_is_gone_is_told(tmp_path: Path) -> None:
    """A replacement that replaces nothing must not pass for a broken build."""
    gone = replace(next(iter(BROKEN.values())), text="this was never there")
    with pytest.raises(AssertionError, match="no longer reads"):
        copy(tmp_path, gone)
