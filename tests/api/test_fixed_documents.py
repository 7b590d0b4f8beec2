"""Fixed documents are cached, metrics are computed once a second, and production publishes neither."""

import re
from dataclasses import replace

import httpx
import pytest

from tests.api.world import ApiWorld, make_world

PUBLISHED = ("/docs", "/openapi.json", "/metrics")


@pytest.mark.reads_only
@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_a_fixed_document_has_an_entity_tag_and_is_compressed(world: ApiWorld, path: str) -> None:
    """A client that has the document gets 304; a client without gzip gets the same content."""
    plain = await world.call("GET", path, key=None, headers={"Accept-Encoding": "identity"})
    packed = await world.call("GET", path, key=None, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert packed.content == plain.content
    etag = plain.headers["etag"]
    known = await world.call("GET", path, key=None, headers={"If-None-Match": f'"other", {etag}'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
    other = await world.call("GET", path, key=None, headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


@pytest.mark.reads_only
async def test_what_is_not_published_is_not_found_and_not_linked(world: ApiWorld) -> None:
    """As in production, where only the monitoring port has metrics."""
    hidden = make_world(world.engine)
    hidden.app.state.context = replace(hidden.app.state.context, publishes_reference=False)
    for path in PUBLISHED:
        assert (await world.call("GET", path, key=None)).status_code == 200
        assert (await hidden.call("GET", path, key=None)).status_code == 404
    pages: dict[bool, httpx.Response] = {}
    for published, each in ((True, world), (False, hidden)):
        pages[published] = await each.call("GET", "/console/sign-in", key=None)
    assert ["/docs" in pages[published].text for published in (True, False)] == [True, False]
    await hidden.client.aclose()


@pytest.mark.reads_only
async def test_the_docs_need_no_outside_asset(world: ApiWorld) -> None:
    """Every address in the page is our own, and its policy allows nothing else, no inline script or style."""
    page = await world.call("GET", "/docs", key=None)
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    addresses = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert all(address.startswith(("/", "#")) for address in addresses), addresses
    assert not re.search(r"<style|<script>| style=| on\w+=", page.text)
    for address in addresses:
        if address.startswith("/console/static/"):
            assert (await world.call("GET", address, key=None)).status_code == 200
    assert "/destinations/{destination_id}/mappings" in page.text  # without JavaScript too
