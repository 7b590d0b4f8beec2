"""Photographs of the product for docs/screens: `python -m tests.console.screens` makes them anew.

It takes chromium, and starts an instance of its own with synthetic data.
"""

import base64
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.console.browsing import CHROMIUM, Site, chromium, window
from tests.console.showcase import Cast, furnish, opened
from tests.console.test_walks import shop
from tests.databases import own_cluster
from tests.pipeline.processes import Product

SCREENS = Path(__file__).resolve().parents[2] / "docs" / "screens"
LARGEST = 60_000  # bytes: they are for a README, and for every clone
DESK, PHONE = (1280, 800), (390, 844)
CALM: Any = {"reduced_motion": "reduce"}


def settled(page: Page) -> None:
    """Return once what the page fetches automatically is there."""
    expect(page.locator("main, body").first).to_be_visible()
    page.wait_for_function("!document.querySelector('.htmx-request')")
    for box in page.locator(".chart[data-series]").all():
        expect(box.locator("canvas")).to_be_visible()
    page.wait_for_timeout(150)


# The pictures, in the order of the owner's steps: where to go, and what to do before each is taken.
Act = Callable[[Site, Cast], None]


def _of_shop(tail: str) -> Act:
    return lambda site, cast: site.open(f"/console/destinations/{cast.shop}{tail}")


def _creating(site: Site, cast: Cast) -> None:
    site.open("/console/destinations/new")
    site.page.get_by_label("Destination Name").fill("Acme Shop Canada")
    site.page.get_by_label("Advertiser ID").fill("ENTITY1A2B3C4D5E")
    expect(site.page.get_by_text("This is an entity id.")).to_be_visible()


def _signing_in(site: Site, cast: Cast) -> None:
    site.open(f"/console/destinations/{cast.draft}")
    site.page.get_by_role("button", name="Connect Amazon Conversions API").click()
    expect(site.page.get_by_role("button", name="Allow")).to_be_visible()


def _mapping(site: Site, cast: Cast) -> None:
    site.open(f"/console/destinations/{cast.shop}/mappings/{cast.mapping}")
    expect(site.page.locator("#preview")).to_contain_text("conversionType")
    site.page.evaluate("document.querySelector('.row').scrollIntoView({block: 'center'})")


def _explained(site: Site, cast: Cast) -> None:
    shop(opened(site.product), "Corner Shop", "580666666666")
    site.open("/console?q=Corner")
    site.page.get_by_role("link", name="Corner Shop").first.click()
    site.page.get_by_role("link", name="Match quality").click()
    site.page.get_by_label("Amazon shows").fill("120")
    site.page.get_by_role("button", name="Explain the difference").click()
    expect(site.page.get_by_text("What may explain the difference")).to_be_visible()


PICTURES: tuple[tuple[str, Act, tuple[int, int], str], ...] = (
    ("1-destinations", lambda site, _: site.open("/console"), DESK, "light"),
    ("2-create", _creating, DESK, "light"),
    ("3-sign-in-at-the-sandbox", _signing_in, DESK, "light"),
    ("4-mapping", _mapping, DESK, "light"),
    (
        "5-publish",
        lambda site, cast: _of_shop(f"/mappings/{cast.mapping}/publish")(site, cast),
        DESK,
        "light",
    ),
    ("6-activate", _of_shop("/activate"), DESK, "light"),
    ("7-destination", _of_shop(""), DESK, "light"),
    ("8-what-is-wrong", lambda site, cast: site.open(f"/console/destinations/{cast.europe}"), DESK, "dark"),
    ("9-event", lambda site, cast: _of_shop(f"/event?id={cast.dead}")(site, cast), DESK, "light"),
    ("10-on-a-phone", _of_shop(""), PHONE, "dark"),
    ("11-why-fewer", _explained, DESK, "light"),
)


def photograph(site: Site, file: Path) -> None:
    """Write the window as WebP, as good as fits."""
    session = site.page.context.new_cdp_session(site.page)
    for quality in (85, 70, 55, 40):
        asked = {"format": "webp", "quality": quality}
        taken = base64.b64decode(session.send("Page.captureScreenshot", asked)["data"])
        if len(taken) <= LARGEST:
            break
    else:
        raise SystemExit(f"{file.name} is {len(taken)} bytes at the poorest quality")
    file.write_bytes(taken)


def make_pictures(browser: Browser, product: Product, cast: Cast) -> None:
    """Write docs/screens anew."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    for name, action, size, scheme in PICTURES:
        with window(browser, product, size, color_scheme=scheme, **CALM) as site:
            action(site, cast)
            settled(site.page)
            photograph(site, SCREENS / f"{name}.webp")
            print(f"{name}.webp {(SCREENS / f'{name}.webp').stat().st_size:,} bytes", flush=True)


def main() -> None:
    """Start an instance, fill it, take the pictures."""
    if CHROMIUM is None:
        raise SystemExit("no chromium on this machine")
    with (
        tempfile.TemporaryDirectory(prefix="conversions-screens-") as logs,
        own_cluster() as cluster,
        Product(cluster.url, Path(logs) / "everything.log").complete() as product,
    ):
        cast = furnish(product, cluster.url.replace("+asyncpg", "", 1))
        with chromium() as browser:
            make_pictures(browser, product, cast)


if __name__ == "__main__":
    main()
