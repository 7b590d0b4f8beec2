"""Names in `app/`: one class name each, no two modules that differ by an `s`, no private language."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "app").rglob("*.py"))

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

# What is left to rename. Remove a name here with its last use; never add one.
_ALLOWED = """
    admin.mapping_schema._doubted
    amazon.wire._whole_error
    api.advertisers._require_whole
    api.advertisers.shown
    api.audit.shown
    api.events._shown
    api.keys.shown
    api.status_callback._shown
    commands.checkpoint.told
    commands.keys._make
    config_as_code.plan._said
    config_as_code.read._whole
    config_as_code.show._shown
    console.diagnosis_view._gate
    console.keys._shown
    console.mapping_view._shown
    delivery.access_tokens.kept
    delivery.balance_check._look
    delivery.delivery._look
    delivery.lane.ready_gate
    delivery.maintenance._look_after_partitions
    delivery.maintenance.sweep
    domain.batch._at
    domain.conversion.values.is_usual
    domain.identity.letters.kept
    domain.identity.letters.kept_composed
    domain.outcomes.explain._at
    domain.pacing.capacity_hypotheses.is_roomy
    domain.pacing.capacity_hypotheses.taken
    domain.pacing.rate_estimator.held
    domain.pacing.rate_estimator.kept
    domain.pacing.rate_estimator.taken
    domain.pacing.watermarks.at
    ingest.destination_cache._held
    ingest.flush_writer._is_usual
    ingest.queue_age.look
    processes.monitoring_port._door
    processes.resources._patience_of
    server.connection.look
    server.fast_events._told
    server.request_body.whole
    server.server._sweep
    store.destinations._one
    """
ALLOWED = frozenset(_ALLOWED.split())


def declared(tree: ast.AST) -> Iterator[str]:
    """Yield the names of all classes and functions of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def words_of(name: str) -> set[str]:
    """Return the words of a name in either style."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def private_names(source: str) -> set[str]:
    """Return the declared names that hold a banned word."""
    return {
        name
        for name in declared(ast.parse(source))
        if words_of(name) & BANNED_WORDS or name.strip("_") in BANNED_ALONE
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


def test_names_are_standard_terms() -> None:
    """No class or function name holds a banned word, those that are left to rename excepted."""
    found = {
        f"{path.relative_to(ROOT / 'app').with_suffix('').as_posix().replace('/', '.')}.{name}"
        for path in MODULES
        for name in private_names(path.read_text())
    }
    assert sorted(found - ALLOWED) == []


def test_a_banned_word_is_found() -> None:
    """The rule above can fail."""
    assert private_names("class Told: ...\ndef _at_the_door(): ...\ndef look(): ...\ndef answer(): ...") == {
        "Told",
        "_at_the_door",
        "look",
    }


def test_the_name_of_a_test_module_is_unique() -> None:
    """Pytest imports them by their base name: it collects no second one."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []
