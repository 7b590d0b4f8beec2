"""Import one module of the product with other code, and leave its file as it is."""

import ast
import importlib.abc
import importlib.machinery
import types
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class FaultyModule(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module and gives it other code. Insert it into `sys.meta_path` before the import."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        words = path.relative_to(ROOT).with_suffix("").parts
        self._package = words[-1] == "__init__"
        self._name = ".".join(words[:-1] if self._package else words)
        self._path, self._tree = path, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = importlib.machinery.ModuleSpec(
            fullname, self, origin=str(self._path), is_package=self._package
        )
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(str(self._path.parent))
        return spec

    def exec_module(self, module: types.ModuleType) -> None:
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)
