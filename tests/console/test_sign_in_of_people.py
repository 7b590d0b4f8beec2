"""People sign in at a real OpenID provider (npm oidc-provider), in a browser.

Run it with `./run test tests/console/test_sign_in_of_people.py -m long`; it needs npm and a package registry.
"""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from dev.postgres.postmaster import free_port
from tests.console.browsing import CHROMIUM, PATIENCE_MS, chromium
from tests.databases import Office, execute
from tests.pipeline.processes import ADMIN, Product

FOLDER = Path(__file__).parent / "provider"
PACKAGE = "oidc-provider@9.13.3"
SIGN_IN = "Sign in with your organisation"

pytestmark = pytest.mark.long


def run(statement: str, address: str) -> Any:
    """Run a statement in a thread: the browser's driver keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, execute(address, statement)).result()


class Provider:
    """The provider as a process of its own."""

    def __init__(self, folder: Path, application: str) -> None:
        self.issuer = f"http://127.0.0.1:{free_port()}"
        self._folder, self._application = folder, application
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["node", "provider.mjs", self.issuer, self._application],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 60
        while True:
            try:
                if httpx.get(self.issuer + "/.well-known/openid-configuration").status_code == 200:
                    return
            except httpx.HTTPError:
                assert time.monotonic() < until, "the provider does not start"
                time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the provider. Without npm the tests are skipped, in CI they fail."""
    if shutil.which("npm") is None or CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no npm or no chromium in CI")
        pytest.skip("no npm or no chromium on this machine")
    folder = tmp_path_factory.mktemp("provider")
    shutil.copy(FOLDER / "provider.mjs", folder)
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"npm could not install {PACKAGE}: {done.stderr[-500:]}")
        pytest.skip(f"npm could not install {PACKAGE}")
    return folder


@pytest.fixture(scope="module")
def product(
    office: Office, database_names: Iterator[str], installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Product, Provider]]:
    log = tmp_path_factory.mktemp("people") / "everything.log"
    with office.database(next(database_names)) as address:
        made = Product(address, log)
        provider = Provider(installed, made.api)
        made.more = {
            "OIDC_ISSUER": provider.issuer,
            "OIDC_CLIENT_ID": "console",
            "OIDC_CLIENT_SECRET": "a-client-secret-of-the-tests",
            "OIDC_ROLES": "admin=leads,viewer=everyone",
            "OIDC_ORGANISATION_CLAIM": "organisation",
            "CONSOLE_KEY_SIGN_IN": "false",
        }
        try:
            provider.start()
            made.serve("api")
            made.ready(made.api + "/health/live")
            yield made, provider
        finally:
            provider.stop()
            made.close()


@pytest.fixture(scope="module")
def browser(product: tuple[Product, Provider]) -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    window = browser.new_context()
    window.set_default_timeout(PATIENCE_MS)
    yield window.new_page()
    window.close()


def at_the_provider(page: Page, account: str) -> None:
    """Sign in and consent, where the provider asks."""
    page.locator("input[name=login]").fill(account)
    page.locator("input[name=password]").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.wait_for_load_state()
    if page.get_by_role("button", name="Continue").count():
        page.get_by_role("button", name="Continue").click()


def sign_in(page: Page, product: Product, account: str) -> None:
    page.goto(product.api + "/console/sign-in?next=/console/keys")
    page.get_by_role("link", name=SIGN_IN).click()
    at_the_provider(page, account)


def test_a_person_signs_in_acts_and_signs_out(product: tuple[Product, Provider], page: Page) -> None:
    """With role and name; the audit names the person; the session at the provider ends too."""
    made, _ = product
    sign_in(page, made, "ada")
    page.wait_for_url("**/console/keys")
    assert page.locator(".top .name").text_content() == "Ada Lovelace"
    assert page.locator(".top .role").text_content() == "admin"
    page.locator("input[name=name]").fill("made by a person")
    page.get_by_role("button", name="Create key").click()
    page.wait_for_load_state()
    rows = run("SELECT actor, organisation_id FROM audit WHERE action = 'key.created'", made.database_url)
    assert [tuple(row) for row in rows] == [("Ada Lovelace (oidc:ada)", "default")]
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/session/end**")
    page.get_by_role("button", name="Yes").click()
    page.wait_for_url("**/console/sign-in")
    assert run("SELECT count(*) FROM console_sessions", made.database_url)[0][0] == 0
    page.get_by_role("link", name=SIGN_IN).click()
    assert page.locator("input[name=login]").is_visible()


def test_a_viewer_of_another_organisation_learns_the_needed_role(
    product: tuple[Product, Provider], page: Page
) -> None:
    """An address is no display name; what the role may not do names the roles that may."""
    made, _ = product
    answer = httpx.post(
        made.api + "/organisations",
        json={"id": "acme", "name": "Acme"},
        headers={"Authorization": f"Bearer {ADMIN}"},
    )
    assert answer.status_code in (201, 409)
    sign_in(page, made, "grace")
    page.wait_for_url("**/console/keys")
    assert page.locator(".top .name").text_content() == "grace"
    page.goto(made.api + "/console/destinations/new")
    assert "Your role, viewer, may not change destinations" in page.locator("main").inner_text()
    assert "editor, admin" in page.locator("main").inner_text()


def test_keys_need_a_fresh_sign_in(product: tuple[Product, Provider], page: Page) -> None:
    """After ten minutes the person signs in again, although the provider still knows it."""
    made, _ = product
    sign_in(page, made, "ada")
    page.wait_for_url("**/console/keys")
    run("UPDATE console_sessions SET signed_in_at = now() - interval '11 minutes'", made.database_url)
    page.reload()
    page.locator("input[name=name]").fill("too late")
    page.get_by_role("button", name="Create key").click()
    assert page.get_by_role("heading").inner_text() == "Confirm that it is you"
    page.get_by_role("link", name="Sign in again").click()
    at_the_provider(page, "ada")
    page.wait_for_url("**/console/keys")
    page.locator("input[name=name]").fill("in time")
    page.get_by_role("button", name="Create key").click()
    page.wait_for_load_state()
    rows = run("SELECT name FROM api_keys WHERE name LIKE '%time' OR name LIKE 'too%'", made.database_url)
    assert [row["name"] for row in rows] == ["in time"]
