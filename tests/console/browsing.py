"""A visitor at a browser: signs in, walks, and keeps what the page complains about."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from tests.pipeline.processes import ADMIN, Product

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--in-process-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--no-first-run",
)
PATIENCE_MS = 60_000  # ends a test that hangs; what is asked for comes much sooner
PHONE: ViewportSize = {"width": 390, "height": 844}
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class Site:
    """One window on the console of a running product."""

    product: Product
    page: Page
    complaints: list[str] = field(default_factory=list)
    allowed_failures: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", self._messages)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.type}"))
        self.page.on("request", self._asked)

    def _messages(self, message: Any) -> None:
        # The browser's console reports an expected 404 or 422 too.
        expected = any(f"status of {status}" in message.text for status in self.allowed_failures)
        if message.type in ("error", "warning") and not expected:
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, request: Any) -> None:
        parts = urlsplit(request.url)
        ours = {urlsplit(self.product.api).netloc, urlsplit(self.product.amazon).netloc}
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc not in ours:
            self.complaints.append(f"asked elsewhere: {parts.scheme}://{parts.netloc}")

    def open(self, path: str) -> None:
        self.page.goto(self.product.api + path)

    def sign_in(self) -> None:
        self.open("/console/sign-in")
        self.page.get_by_label("Key", exact=True).fill(ADMIN)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/console")

    def start_session(self) -> None:
        """Sign in without the form, whose pages take a third of a second in a new window."""
        answer = self.page.context.request.post(
            self.product.api + "/console/sign-in",
            form={"key": ADMIN},
            headers={"Origin": self.product.api},
            max_redirects=0,
        )
        assert answer.status == 303, answer.text()

    def check_accessible(self, *rules: str) -> list[str]:
        """Return what axe finds on the page as it is, one line a rule: of all rules, or of these."""
        if not self.page.evaluate("window.axe !== undefined"):
            self.page.evaluate(AXE)
        # Without `preload`, axe does not fetch style sheets and media again, which no rule needs here.
        chosen: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
        if rules:
            chosen["runOnly"] = list(rules)
        found = self.page.evaluate("(chosen) => axe.run(document, chosen)", chosen)
        return [
            f"{one['id']} at {one['nodes'][0]['target']}: {one['nodes'][0]['failureSummary'][:200]}"
            for one in found["violations"]
        ]


@contextmanager
def new_profile(
    browser: Browser, size: tuple[int, int] = (1280, 900), **settings: Any
) -> Iterator[BrowserContext]:
    """A profile in Berlin whose windows have this size. The settings are those of the browser's context."""
    width, height = size
    usual = {"timezone_id": "Europe/Berlin", "locale": "en-GB"}
    made = browser.new_context(viewport={"width": width, "height": height}, **{**usual, **settings})
    made.set_default_timeout(PATIENCE_MS)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def window(
    browser: Browser,
    product: Product,
    size: tuple[int, int] = (1280, 900),
    *,
    signed_in: bool = True,
    **settings: Any,
) -> Iterator[Site]:
    """A visitor's window of this size, in a profile of its own."""
    with new_profile(browser, size, **settings) as profile:
        site = Site(product, profile.new_page())
        if signed_in:
            site.start_session()
        yield site
