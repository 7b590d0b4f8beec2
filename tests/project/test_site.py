"""The site of the documents: complete, without broken links, and without files of other hosts."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import expect

from dev.site import markdown, navigation, search
from dev.site.command import build_site
from tests.console.browsing import CHROMIUM, chromium

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "runbooks" / "backlog.md"
pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site; a broken link, an unknown anchor or a page without a place fails it."""
    folder = tmp_path_factory.mktemp("site")
    assert build_site(folder)
    return folder


def test_a_page_loads_nothing_from_another_host(site: Path) -> None:
    """It works offline. Links that a reader clicks may lead elsewhere."""
    loading = re.compile(
        r"<(?:script|img|iframe|source)[^>]+src=[\"']?(?:https?:)?//|<link[^>]+href=[\"']?https?://"
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    assert [page.name for page in pages if loading.search(page.read_text())] == []
    styles = [
        path for path in site.rglob("*.css") if re.search(r"url\([\"']?(?:https?:)?//", path.read_text())
    ]
    assert styles == []


def test_every_page_is_in_llms_txt_with_its_markdown(site: Path) -> None:
    """The list leads to the Markdown that lies beside each page."""
    listed = re.findall(r"(?m)^- \[[^\]]+\]\(([^)]+)\)$", (site / "llms.txt").read_text())
    assert [path for path in listed if not (site / path).is_file()] == []
    pages = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")}
    assert pages - {"404.md", "index.md", "search.md"} <= {path.replace("README", "index") for path in listed}
    for path in listed:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)\s#]+)", (site / path).read_text()):
            assert (site / path).parent.joinpath(target).exists(), (path, target)


def test_every_runbook_and_every_route_has_a_place(site: Path) -> None:
    """A runbook is a page; a route is a heading of the API reference."""
    for page in (ROOT / "docs" / "runbooks").glob("*.md"):
        assert (site / "runbooks" / page.name.replace("README", "index")).with_suffix(".html").is_file()
    reference = "".join(path.read_text() for path in (site / "reference").glob("*.md"))
    for path, methods in json.loads((site / "openapi.json").read_text())["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in reference


def answers(site: Path, *questions: str) -> list[dict[str, Any]]:
    """Return what the search of the site answers to each question: places, summaries, missing words."""
    node, _ = compute_driver_executable()
    script = Path(__file__).with_name("site_search.js")
    text = "\n".join(questions)
    done = subprocess.run([node, script, site], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def found(site: Path, *questions: str) -> list[list[str]]:
    """Return the first three places that the search of the site finds for each question."""
    return [answer["places"] for answer in answers(site, *questions)]


def test_an_excerpt_of_a_table_begins_with_its_row(site: Path) -> None:
    """A cell alone can say the opposite of its row."""
    stored, hashed = answers(
        site, "What personal data is stored and for how long?", "Are emails hashed before they leave?"
    )
    row = "digests of accepted event ids and contents: ledger"
    assert any(text.startswith(row) for text in stored["summaries"])
    assert any("as SHA-256 of the normalised value" in text for text in hashed["summaries"])
    assert not re.search(f"[{search.ROW_MARKS}]", (site / "incidents.html").read_text())


def test_the_search_says_which_word_no_page_has(site: Path) -> None:
    """Results for other words alone would look like an answer."""
    known, unknown, same = answers(site, "invalid_grant", "unheard_of_grant refused", "the login")
    assert known["places"][0] == "runbooks/sign-in-lost.html"
    assert (known["missing"], unknown["missing"], same["missing"]) == ([], ["unheard_of_grant"], [])


def test_a_page_names_no_file_of_the_documents(site: Path) -> None:
    """It links the page by its title. Measurements, decisions and the project's own pages may name files."""
    pages = [*site.glob("*.html"), *(site / "runbooks").glob("*.html")]
    texts = {
        page.name: re.sub(r"<[^>]+>", " ", page.read_text().partition("articleBody")[2]) for page in pages
    }
    assert {name: re.findall(r"[\w/-]+\.md\b", text) for name, text in texts.items() if ".md" in text} == {}


def test_questions_find_their_answers(site: Path) -> None:
    """Questions in the words of readers (docs/evidence/questions.md), each with the places of its answer."""
    lines = Path(__file__).with_name("site_questions.txt").read_text().splitlines()
    asked = {
        question: places.split("|") for question, _, places in (line.partition(" => ") for line in lines)
    }
    positions = [
        next((at for at, found in enumerate(first) if any(found.startswith(place) for place in places)), 3)
        for places, first in zip(asked.values(), found(site, *asked), strict=True)
    ]
    missed = [question for question, position in zip(asked, positions, strict=True) if position == 3]
    assert (len(asked), missed) == (537, missed[:7])
    assert positions.count(0) >= 492


def test_the_search_finds_names_synonyms_and_any_text(site: Path) -> None:
    """An identifier finds its row; a text with operators of the search library finds the same as without."""
    names, alert, operators, plain, nothing = found(
        site, "timestamp_missing", "ClaimsFailing", "password: *login*", "password login", "?!"
    )
    assert names[0].startswith("reasons.html#")
    assert alert[0] == "runbooks/claims-failing.html"
    assert operators == plain
    assert "console.html#sign-in-and-roles" in plain
    assert nothing == []


def test_links_to_source_files_become_text() -> None:
    """The site has no source files, and no address of a forge."""
    text = "[`a`](../../app/cli.py) [b](../../app/cli.py) [c](../monitoring.md#logs) [d](../../README.md)"
    expected = "`a` b (`cli.py`) [c](../monitoring.md#logs) [d](../project/readme.md)"
    assert markdown.with_site_links(text, PAGE) == expected


def test_every_item_of_a_list_is_one_on_the_site(site: Path) -> None:
    """As many items and numbered lists as in the source, on every page."""
    wrong = []
    for page in site.rglob("*.html"):
        source = page.with_suffix(".md")
        if page.name == "index.html":
            source = page.with_name("README.md")
        if source.is_file():
            text = re.sub(r"(?ms)^ *```.*?^ *```$", "", source.read_text())
            content = page.read_text().partition('itemprop="articleBody"')[2].partition("<footer")[0]
            there = len(re.findall(r"(?m)^ *(?:\d+\.|[-*]) ", text)), len(re.findall(r"(?m)^ *1\. ", text))
            here = content.count("<li>"), content.count("<ol>")
            wrong += [(page.name, there, here)] if there != here else []
    assert wrong == []


def test_the_search_box_is_in_view_and_no_page_is_too_wide(site: Path) -> None:
    """The theme scrolls the menu to the current page. A phone shows the sections of a long page."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        for name in ("index.html", "api.html", "data-protection.html", "runbooks/volume-drop.html"):
            page.set_viewport_size({"width": 1280, "height": 800})
            page.goto((site / name).as_uri())
            page.wait_for_function("document.querySelector('.wy-menu a.current')")
            expect(page.locator(".wy-side-nav-search input")).to_be_in_viewport(ratio=1)
            expect(page.locator(".wy-menu a.current").last).to_be_in_viewport(ratio=1)
            page.set_viewport_size({"width": 390, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name


def test_the_groups_follow_the_index() -> None:
    """Start, how to, reference, explanation."""
    titles = [title for title, _ in navigation.groups((ROOT / "docs" / "README.md").read_text())]
    assert titles == ["Start", "How to", "Reference", "Explanation"]
