"""The order of the site's pages: docs/README.md groups those of `docs`; other folders have own sections."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from app.store.database.migrate import ROOT

DOCS: Final = ROOT / "docs"
PROJECT: Final = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "THIRD_PARTY_NOTICES.md")
"""Pages of the repository's top folder. The site has them in the folder `project`."""
Nav = list[dict[str, Any]]
"""MkDocs' `nav`: each entry maps a title to a path or to a list of entries."""

_GROUP = re.compile(r"(?m)^## (.+)$")
_ROW = re.compile(r"(?m)^\| \[([^\]]+)\]\(([\w./-]+\.md)\) \|")


def site_path(path: Path) -> str | None:
    """Return where the site has a page or picture of the repository; None if it has not."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    if path.parent == ROOT and path.name in PROJECT:
        return f"project/{path.name.lower()}"
    return None


def title_of(text: str) -> str:
    """Return the first heading of a page, without the number of a decision."""
    return text.partition("\n")[0].lstrip("# ").strip()


def navigation(references: Sequence[tuple[str, str]]) -> Nav:
    """Return MkDocs' `nav`. `references` are titles and paths of the generated pages of the API."""
    index = (DOCS / "README.md").read_text()
    nav: Nav = [{"Overview": "README.md"}]
    for title, pages in groups(index):
        section: Nav = [{name: path} for name, path in pages]
        if title == "Reference":
            section.insert(0, {"API: parameters and bodies": [{name: path} for name, path in references]})
        nav.append({title: section})
    nav.append({"Runbooks": _folder("runbooks")})
    nav.append({"Decisions": _folder("adr")})
    nav.append({"Evidence": _folder("evidence")})
    nav.append(
        {
            "Project": [
                {title_of((ROOT / name).read_text()): f"project/{name.lower()}"} for name in PROJECT[1:]
            ]
        }
    )
    return nav


def groups(index: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each heading of docs/README.md with the titles and paths of its pages."""
    _, *parts = _GROUP.split(index)
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        pages = []
        for name, target in _ROW.findall(body):
            path = site_path((DOCS / target).resolve())
            if path is not None and not path.endswith("/README.md"):
                pages.append((name, path))
        yield title, pages


def _folder(name: str) -> Nav:
    """Return the pages of a folder, its index first."""
    paths = sorted((DOCS / name).glob("*.md"), key=lambda path: (path.name != "README.md", path.name))
    return [{title_of(path.read_text()): f"{name}/{path.name}"} for path in paths]
