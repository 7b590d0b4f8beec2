"""Names: one class name each, no two modules that differ by an `s`, no private language."""

import ast
import re
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "app").rglob("*.py"))
TESTS = sorted(path for top in ("tests", "campaigns") for path in (ROOT / top).rglob("*.py"))

# Words that no class or function name holds: each has a standard term.
_BANNED_WORDS = """
    believed door doubted floors furnished gate garbage held kept knock lifeline look nought oddities oddity
    outline parcel patience poured road roomy said seen shown straight sweep taken telling told turnstile
    usual whole wired
    """
BANNED_WORDS = frozenset(_BANNED_WORDS.split())
# Words that are no name when they stand alone.
_BANNED_ALONE = "acts at at_once data info make mend more nth one whom"
BANNED_ALONE = frozenset(_BANNED_ALONE.split())


def words_of(name: str) -> set[str]:
    """Return the words of a name in either style."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def private_names(source: str) -> set[str]:
    """Return the names of classes and functions that hold a banned word."""
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if words_of(node.name) & BANNED_WORDS or node.name.strip("_") in BANNED_ALONE
    }


def test_a_class_name_is_unique() -> None:
    """A search for a class finds one."""
    classes = Counter(
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, number in classes.items() if number > 1] == []


def test_no_two_modules_of_a_package_differ_by_an_s() -> None:
    """`lane.py` beside `lanes.py` would be mistaken for each other."""
    names = {path.relative_to(ROOT).with_suffix("") for path in MODULES}
    packages = {path.parent for path in names}
    twins = [name for name in names | packages if name.with_name(f"{name.name}s") in names | packages]
    assert twins == []


def test_a_folder_has_at_most_twenty_modules() -> None:
    """A reader finds a module by its folder: the resource, or the part of the program."""
    modules = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert [package for package, number in modules.items() if number > 20] == []


def clock_ids(ids: Iterable[str], now: float) -> list[str]:
    """Return the ids of tests that contain a time of the last day or of the next."""
    return [each for each in ids if any(abs(int(n) - now) < 86_400 for n in re.findall(r"\d{10}", each))]


def test_no_id_of_a_test_depends_on_the_clock(request: pytest.FixtureRequest) -> None:
    """Each xdist worker collects in another second. Different ids end the run before its first test."""
    assert clock_ids((item.nodeid for item in request.session.items), time.time()) == []
    assert clock_ids(["a[1795916385]", "b[1000000000]"], 1795916389.5) == ["a[1795916385]"]


def test_names_are_standard_terms() -> None:
    """No class or function name holds a banned word."""
    assert [
        f"{path.relative_to(ROOT)}: {name}"
        for path in (*MODULES, *TESTS)
        for name in private_names(path.read_text())
    ] == []


# Words of a private language, in names and in prose. Every new test uses the standard term.
PRIVATE_WORDS = re.compile(r"\b(nobody|nth|told|whoever|nought|straightened|mended|said)\b", re.IGNORECASE)
MOST_PRIVATE_WORDS = 12


def test_tests_are_written_in_plain_words() -> None:
    """The rest are parts of data: a mailbox `nobody`, and Playwright's `nth`."""
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in TESTS
        if path != Path(__file__)
        for word in PRIVATE_WORDS.findall(path.read_text())
    ]
    assert len(found) <= MOST_PRIVATE_WORDS, found


PACKAGES = sorted(
    path.parent for top in ("app", "sandbox", "dev") for path in (ROOT / top).rglob("__init__.py")
)


def test_a_package_says_what_is_in_it() -> None:
    """Each package has a docstring; a module that it names is there."""
    texts = {
        package: ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
        for package in PACKAGES
    }
    assert [package for package, text in texts.items() if not text] == []
    named = {package / name for package, text in texts.items() for name in re.findall(r"`(\w+\.py)`", text)}
    assert named
    assert {path for path in named if not path.exists()} == set()
