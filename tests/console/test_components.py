"""The page with every component of the console, compared with pictures of an earlier run.

`UPDATE_PICTURES=1 ./run test tests/console/test_components.py` writes the pictures anew. Another version of
the browser draws other letters, so the pictures name theirs.
"""

import base64
import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.console.browsing import Site
from tests.pipeline.processes import Product

PICTURES = Path(__file__).parent / "components"
MOST_DIFFERENT = 0.002  # of the pixels

# The share of pixels that differ between two pictures, given as base64.
DIFFERENCE = """async ([one, other]) => {
  const pixels = async (picture) => {
    const image = new Image();
    image.src = "data:image/webp;base64," + picture;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, image.width, image.height);
  };
  const [a, b] = [await pixels(one), await pixels(other)];
  if (a.width !== b.width || a.height !== b.height) return 1;
  let different = 0;
  for (let at = 0; at < a.data.length; at += 4) {
    if ([0, 1, 2].some((part) => Math.abs(a.data[at + part] - b.data[at + part]) > 24)) different += 1;
  }
  return different / (a.width * a.height);
}"""


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "light")]
)
def test_components_are_unchanged(
    browser: Browser, product: Product, name: str, width: int, scheme: Any
) -> None:
    window = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    site = Site(product, window.new_page())
    site.sign_in()
    site.open("/console/components")
    height = site.page.evaluate("document.documentElement.scrollHeight")
    site.page.set_viewport_size({"width": width, "height": height})
    site.page.locator("body").click(position={"x": 5, "y": 5})  # no caret blinks
    asked = {"format": "webp", "quality": 40}
    taken = window.new_cdp_session(site.page).send("Page.captureScreenshot", asked)["data"]
    found = site.check_accessible()
    too_wide = site.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    file = PICTURES / f"{name}-{browser.version.split('.')[0]}.webp"
    if os.environ.get("UPDATE_PICTURES"):
        file.write_bytes(base64.b64decode(taken))
    if not file.exists():
        window.close()
        pytest.skip(f"no picture of chromium {browser.version}")
    blank = window.new_page()
    different = blank.evaluate(DIFFERENCE, [base64.b64encode(file.read_bytes()).decode(), taken])
    window.close()
    assert different <= MOST_DIFFERENT
    assert found == []
    assert not too_wide
    assert site.complaints == []


def test_every_component_of_the_style_sheet_is_on_the_page() -> None:
    """A class that a page of its own styles is named below; every other class of `console.css` is shown."""
    folder = Path(__file__).parents[2] / "app" / "console"
    styles = re.sub(r"/\*.*?\*/", "", (folder / "static" / "console.css").read_text(), flags=re.S)
    selectors = re.findall(r"([^{}]+)\{", styles)
    classes = {name for selector in selectors for name in re.findall(r"\.([a-z][a-z-]+)", selector)}
    shown = (folder / "templates" / "components.html").read_text()
    assert {name for name in classes if not re.search(rf"\b{name}\b", shown)} == OF_ONE_PAGE


OF_ONE_PAGE = {
    "about", "acting", "answers", "at", "big", "brand", "chart", "charts", "diff", "editor", "extras",
    "filled", "find", "fleet", "fold", "foot", "found", "from", "htmx-indicator", "htmx-request",
    "inline", "long", "main-left", "mark-quiet", "mono", "named", "narrow", "note", "open-sheet", "path",
    "pick", "picker", "plan", "prose", "result", "row", "sample", "savebar", "sheet", "sheet-close", "skip",
    "split", "sticky", "thresholds", "ticks", "tone-accent", "top", "transforms", "u-legend", "was", "who",
    "why", "words", "wrap", "zone",
}  # fmt: skip
