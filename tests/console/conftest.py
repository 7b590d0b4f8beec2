"""The product as processes with the sandbox behind it, and a browser before it; both once for a file."""

import asyncio
import itertools
import os
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.conftest import TEMPLATE
from tests.console.browsing import ARGUMENTS, CHROMIUM, Site
from tests.pipeline.processes import Product

_NUMBERS = itertools.count()


async def _execute(address: str, statement: str) -> None:
    connection = await asyncpg.connect(address.replace("+asyncpg", ""))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _run(action: Coroutine[Any, Any, None]) -> None:
    """Run in a thread: the browser's driver keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, action).result()


@pytest.fixture(scope="module")
def product(cluster: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """An empty instance: API, worker and sandbox, on a database of the file's own."""
    name, office = f"console_{worker_id}_{next(_NUMBERS)}", cluster.format("postgres")
    _run(_execute(office, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY"))
    folder: Path = tmp_path_factory.mktemp("console")
    made = Product(cluster.format(name), folder / "everything.log")
    try:
        made.start("sandbox", "sandbox")
        made.serve("api")
        made.work("worker")
        made.ready(made.api + "/health/live", made.amazon + "/_sandbox/health")
        yield made
    finally:
        made.close()
        _run(_execute(office, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="module")
def browser(product: Product) -> Iterator[Browser]:
    """Debian's chromium, started once the product runs.

    In CI it must be there; elsewhere the tests that need it are skipped by name.
    """
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no chromium in CI: apt-get install chromium")
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield made
        made.close()


@pytest.fixture
def site(product: Product, browser: Browser) -> Iterator[Site]:
    """A visitor's window. What the page complains about, or fetches elsewhere, fails the test at its end."""
    window = browser.new_context(
        viewport={"width": 1280, "height": 900}, timezone_id="Europe/Berlin", locale="en-GB"
    )
    window.set_default_timeout(10_000)
    made = Site(product, window.new_page())
    yield made
    window.close()
    assert made.complaints == []
