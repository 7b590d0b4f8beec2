"""A setting is read by something that acts on it, and a metric is written."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS, TELEMETRY = ROOT / "app" / "settings.py", ROOT / "app" / "telemetry.py"
# Methods of prometheus_client that change a metric, or return a series of it to change.
WRITERS = {"inc", "dec", "set", "observe", "labels", "set_function", "clear", "remove", "time"}
TREES = {
    path: ast.parse(path.read_text())
    for folder in ("app", "sandbox", "dev")
    for path in (ROOT / folder).rglob("*.py")
}


def attributes(tree: ast.AST) -> Iterator[ast.Attribute]:
    """Yield every access to an attribute."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))


def members(path: Path, name: str) -> dict[str, ast.FunctionDef]:
    """Return the methods and properties of a class."""
    (found,) = (node for node in TREES[path].body if isinstance(node, ast.ClassDef) and node.name == name)
    return {node.name: node for node in found.body if isinstance(node, ast.FunctionDef)}


@functools.cache
def settings_read() -> set[str]:
    """Return the members of settings that other modules read, with those that these read in turn.

    A check of the settings at the start is no effect.
    """
    used = {
        node.attr
        for path, tree in TREES.items()
        if path != SETTINGS
        for node in attributes(tree)
        if ast.unparse(node.value).rpartition(".")[2].strip("_") == "settings"
    }
    methods = members(SETTINGS, "Settings")
    new = used
    while new:
        new = {node.attr for name in new & methods.keys() for node in attributes(methods[name])} - used
        used |= new
    return used


@functools.cache
def metrics_written() -> set[str]:
    """Return the names of the attributes on which a method that changes a metric is called."""
    trees: list[ast.AST] = [tree for path, tree in TREES.items() if path != TELEMETRY]
    trees += [node for name, node in members(TELEMETRY, "Telemetry").items() if name != "__init__"]
    return {
        node.value.attr
        for tree in trees
        for node in attributes(tree)
        if node.attr in WRITERS and isinstance(node.value, ast.Attribute)
    }


def metrics_declared() -> Iterator[str]:
    """Yield the names of the attributes of `Telemetry` that are counters, gauges or histograms."""
    for node in ast.walk(members(TELEMETRY, "Telemetry")["__init__"]):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            (target,) = node.targets
            if isinstance(target, ast.Attribute) and ast.unparse(node.value.func) in {
                "counter",
                "gauge",
                "histogram",
            }:
                yield target.attr


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_setting_has_an_effect(name: str) -> None:
    """An operator who changes it changes something."""
    assert name in settings_read()


@pytest.mark.parametrize("name", sorted(metrics_declared()))
def test_a_metric_is_written(name: str) -> None:
    """A counter that stays at zero says that nothing is wrong."""
    assert name in metrics_written()
