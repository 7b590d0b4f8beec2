"""Hooks of MkDocs (mkdocs.yml)."""

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from app.processes.application import api_description
from app.store.database.migrate import ROOT
from dev.site import api_reference, markdown, navigation, search

_REFERENCE = "reference/"
_WIDE = """/* Tables of three columns and more need the width of the window. */
.wy-nav-content { max-width: 72rem; }
.rst-content table.docutils td, .rst-content .wy-table-responsive table td { white-space: normal; }
/* The theme scrolls the menu to the current page: the search box stays above it. */
.wy-side-nav-search { position: sticky; top: 0; }
.wy-side-scroll { scroll-padding-top: 9rem; }
.contents { columns: 16rem; margin-bottom: 24px; }
.contents a { display: block; padding-bottom: 4px; }
"""
_LONG = 5
"""Sections of a page that has a list of its sections."""
_HEADER = re.compile(r"(<tr>\s*<th[^>]*>)(.*?)(</th>\s*</tr>)", re.DOTALL)
_ROW = re.compile(r"(<tr>\s*<td[^>]*>)(.*?)(</td>.*?)(</td>\s*</tr>)", re.DOTALL)
_raw: dict[str, str] = {}
"""The Markdown of each page as the site has it."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages of the top folder and of the API, and order all pages."""
    described = api_description("http://localhost:8000")
    generated = list(api_reference.pages(described))
    for page in generated:
        files.append(File.generated(config, page.path, content=page.text))
    files.append(File.generated(config, "openapi.json", content=json.dumps(described, indent=1)))
    files.append(File.generated(config, "wide.css", content=_WIDE))
    for name in navigation.PROJECT:
        files.append(File.generated(config, f"project/{name.lower()}", content=(ROOT / name).read_text()))
    config.nav = navigation.navigation([(page.title, page.path) for page in generated])
    return files


def on_page_markdown(text: str, page: Page, **_: Any) -> str:
    """Adapt links and lists to the site, and keep the text for `page.md`."""
    path = page.file.src_uri
    if not path.startswith(_REFERENCE):
        text = markdown.with_site_links(text, _source(path))
    _raw[path] = text
    return markdown.with_deep_items(text)


def on_page_content(html: str, **_: Any) -> str:
    """Remove the backslash before a vertical bar within code, which a table cell of a forge needs.

    Mark rows and their first cells for the search, until its plugin has read the page.
    """
    html = re.sub(r"<code>[^<]*</code>", lambda found: found[0].replace("\\|", "|"), html)
    row, head, end, header = search.ROW_MARKS
    html = _HEADER.sub(rf"\1{header}\2{end}\3", html)
    return _ROW.sub(rf"\1{row}\2{head}\3{end}\4", html)


def on_page_context(context: Any, page: Page, **_: Any) -> Any:
    """Remove the marks, and add a list of the sections to a long page: the search has read the page."""
    page.content = re.sub(f"[{search.ROW_MARKS}]", "", page.content or "")
    sections = [section for title in page.toc for section in title.children]
    if len(sections) >= _LONG:
        links = "".join(f'<a href="{section.url}">{section.title}</a>' for section in sections)
        contents = f'<nav class="contents" aria-label="Sections">{links}</nav>\n'
        page.content = re.sub(r"(?=<h2)", lambda _: contents, page.content, count=1)
    return context


def on_post_build(config: MkDocsConfig) -> None:
    """Write the Markdown of each page beside it, llms.txt, and what the search needs."""
    folder = Path(config.site_dir)
    for path, text in _raw.items():
        (folder / path).write_text(text)
    (folder / "llms.txt").write_text(_llms(config))
    path_of_index = folder / "search" / "search_index.json"
    index = json.loads(path_of_index.read_text())
    index |= {"docs": search.improved(index["docs"], _raw), "synonyms": search.SYNONYMS}
    path_of_index.write_text(json.dumps(index, ensure_ascii=False))
    (folder / "search" / "worker.js").write_text(_script("search_worker.js"))
    with (folder / "search" / "main.js").open("a") as main:
        main.write(_script("search_hint.js"))


def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text()


def _source(path: str) -> Path:
    """Return the file of the repository that a page was written in."""
    names = {f"project/{name.lower()}": ROOT / name for name in navigation.PROJECT}
    return names.get(path, navigation.DOCS / path)


def _llms(config: MkDocsConfig) -> str:
    """Return the list of all pages for language models (llmstxt.org): sections of links to Markdown."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]

    def add(nav: Any, heading: str) -> None:
        for entry in nav:
            for title, value in entry.items():
                if isinstance(value, str):
                    if heading:
                        lines.append(f"- [{title}]({value})")
                else:
                    lines.extend(["", f"## {title}", ""])
                    add(value, title)

    add(config.nav, "")
    return "\n".join(lines) + "\n"
