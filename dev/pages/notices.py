"""THIRD_PARTY_NOTICES.md."""

from dev.components import locked_packages, vendored_files

_INTRODUCTION = """# Third-party notices

Generated from `requirements/runtime.txt` and `app/console/static/VENDORED.md` by `./run docs --update`.
A test keeps it up to date. This project's own licence is [Apache-2.0](LICENSE).

## Files of other projects in this repository

Their licence texts are beside them in `app/console/static/`.

| file | project | licence |
|---|---|---|
"""
_COMPILED = """
## Compiled modules of the image

They contain the runtime library of mypyc, a part of {name} {version} ({licence}).
Its licence text is in the image as `app__mypyc.LICENSE`.
"""
_PACKAGES = """
## Packages that an installation contains

Each package includes the text of its licence.

| package | version | licence |
|---|---|---|
"""


def page() -> str:
    """Return THIRD_PARTY_NOTICES.md."""
    files = (
        f"| `{file.file}` | {file.package} {file.version} | {file.licence} (`{file.licence_file}`) |\n"
        for file in vendored_files()
    )
    packages = (
        f"| {package.name} | {package.version} | {package.licence or 'see the package'} |\n"
        for package in locked_packages("runtime.txt")
    )
    mypy = next(package for package in locked_packages("compile.txt") if package.name == "mypy")
    compiled = _COMPILED.format(name=mypy.name, version=mypy.version, licence=mypy.licence)
    return "".join([_INTRODUCTION, *files, compiled, _PACKAGES, *packages])
