"""Compiles the modules that convert events to machine code, as the image has them.

    python -m dev.compiled FOLDER

The folder is a copy of the project. Python loads a compiled module instead of its source, even after a change
of the source, so a checkout is never compiled. mypyc needs a C compiler and Python's headers.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

PACKAGES: Final = ("app/domain/conversion/*.py", "app/domain/identity/*.py")
# `amazon_codes.py` has a subclass of `str`, which mypyc cannot compile.
LEFT_OUT: Final = frozenset({"__init__.py", "amazon_codes.py"})


def compiled_copy(source: Path, folder: Path, python: str = sys.executable) -> None:
    """Copy a checkout to a new folder and compile the copy's modules.

    Raises CalledProcessError; the reason is on stderr.
    """
    shutil.copytree(
        source, folder, ignore=shutil.ignore_patterns(".git", ".*_cache", ".venv*", "__pycache__")
    )
    command = [python, "-m", "dev.compiled", str(folder)]
    subprocess.run(command, env=environment_of(folder), stdout=subprocess.DEVNULL, check=True)


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment of a program that imports the copy, and nothing of the working directory."""
    return os.environ | {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


def modules(folder: Path) -> list[str]:
    """Return the paths of the modules to compile, relative to the folder."""
    found = [path for pattern in PACKAGES for path in sorted(folder.glob(pattern))]
    return [str(path.relative_to(folder)) for path in found if path.name not in LEFT_OUT]


def compile_in(folder: Path) -> None:
    """Compile the modules in place: a library beside each, and a shared one in the folder."""
    from mypyc.build import mypycify
    from setuptools import setup

    os.chdir(folder)
    setup(
        name="app",
        packages=[],
        py_modules=[],
        ext_modules=mypycify(modules(folder), opt_level="3", debug_level="0", group_name="app"),
        script_args=["-q", "build_ext", "--inplace"],
    )
    # Its runtime library is part of them.
    for file in importlib.metadata.files("mypy") or []:
        if file.name == "LICENSE":
            shutil.copy(file.locate(), folder / "app__mypyc.LICENSE")
    for left in ("build", ".mypy_cache"):
        shutil.rmtree(folder / left, ignore_errors=True)


if __name__ == "__main__":
    place = Path(sys.argv[1]).resolve()
    if (place / ".git").exists():
        sys.exit(f"{place} is a checkout: changes of its sources would have no effect. Compile a copy.")
    compile_in(place)
