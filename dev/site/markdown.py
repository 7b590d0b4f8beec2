"""Adapt the text of a page, which is written for a forge, to the site."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from dev.site.navigation import site_path

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
_ITEM = re.compile(r"^( *)(\d+\. |[-*] )")


def with_site_links(text: str, page: Path) -> str:
    """Return the text with links that lead within the site. A link to a source file becomes its text."""
    here = site_path(page)
    assert here is not None

    def replace(found: re.Match[str]) -> str:
        picture, label, target, anchor = found.groups()
        there = site_path((page.parent / target).resolve())
        if target.endswith("/") or (page.parent / target).is_dir():
            there = site_path((page.parent / target / "README.md").resolve())
        if there is None:
            return label if label.startswith("`") else f"{label} (`{(page.parent / target).name}`)"
        return f"{picture}[{label}]({os.path.relpath(there, Path(here).parent)}{anchor or ''})"

    return _outside_code(text, lambda part: _LINK.sub(replace, part))


def with_deep_items(text: str) -> str:
    """Return the text with lists as Python-Markdown requires them.

    Lines of an item are indented by four, and a blank line follows an item of several blocks.
    """
    lines: list[str] = []
    own, fenced, several = 0, False, False
    for line in text.splitlines():
        if re.match(r" *```", line):
            fenced = not fenced
        found = None if fenced else _ITEM.match(line)
        indent = len(line) - len(line.lstrip(" "))
        if found and indent == 0:
            if own and several and lines[-1].strip():
                lines.append("")
            own, several = len(found[2]), False
            lines.append(line)
        elif own and line.strip() and indent >= own:
            several = several or not lines[-1].strip()
            lines.append(" " * (4 - own) + line)
        else:
            own = own if not line.strip() or (own and fenced) else 0
            lines.append(line)
    return "\n".join(lines) + "\n"


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    parts = re.split(r"(?ms)(^ *```.*?^ *```)", text)
    return "".join(part if number % 2 else change(part) for number, part in enumerate(parts))
