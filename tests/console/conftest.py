"""The product as processes with the sandbox behind it, and a browser before it; both once for a file."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.api.conftest import acme, acme_id
from tests.console.test_confirmations import case
from tests.console.test_sessions import world
from tests.databases import Office
from tests.pipeline.processes import Product

__all__ = ["acme", "acme_id", "case", "world"]  # fixtures of several modules

# Imported by the fixtures that need it: it takes half a second, and fast tests open no browser.
if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

    from tests.console.browsing import Site


@pytest.fixture(scope="module")
def product(
    office: Office, database_names: Iterator[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """An empty instance: API, worker and sandbox, on a database of the file's own."""
    log = tmp_path_factory.mktemp("console") / "everything.log"
    with office.database(next(database_names)) as address, Product(address, log).complete() as made:
        yield made


@pytest.fixture(scope="module")
def browser(product: Product) -> Iterator["Browser"]:
    """Debian's chromium, started once the product runs.

    In CI it must be there; elsewhere the tests that need it are skipped by name.
    """
    from playwright.sync_api import expect

    from tests.console.browsing import CHROMIUM, PATIENCE_MS, chromium

    expect.set_options(timeout=PATIENCE_MS)
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no chromium in CI: apt-get install chromium")
        pytest.skip("no chromium on this machine")
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def profile(browser: "Browser") -> Iterator["BrowserContext"]:
    """What the windows of a file share: a cache, and a blank page, without which chromium starts anew.

    A new profile costs as much as four pages.
    """
    from tests.console.browsing import new_profile

    with new_profile(browser) as made:
        made.new_page()
        yield made


@pytest.fixture
def anonymous(product: Product, profile: "BrowserContext") -> Iterator["Site"]:
    """A visitor's window. What the page complains about, or fetches elsewhere, fails the test at its end."""
    from tests.console.browsing import Site

    profile.clear_cookies()
    made = Site(product, profile.new_page())
    yield made
    for page in profile.pages[1:]:
        page.close()
    assert made.complaints == []


@pytest.fixture
def site(anonymous: "Site") -> "Site":
    """The window of a visitor who is signed in, before the first page."""
    anonymous.start_session()
    return anonymous
