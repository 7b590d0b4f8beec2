"""What a request leaves in memory: nothing, without waiting for the collector of circles."""

import gc

import httpx

from app.amazon.client import EventsClient
from app.domain.destination import Region


def requests() -> list[object]:
    """Return what is in memory of requests and answers, those of other tests too."""
    return [one for one in gc.get_objects() if type(one) in (httpx.Request, httpx.Response)]


async def test_a_request_is_gone_as_soon_as_it_was_answered() -> None:
    """Half a megabyte of body each: with much waiting, hundreds of them before the collector comes."""

    def take(request: httpx.Request) -> httpx.Response:
        return httpx.Response(207, json={"success": [{"index": 0, "event": None}], "error": []})

    client = EventsClient("client", "http://amazon.test", httpx.MockTransport(take))
    gc.collect()
    before = {id(one) for one in requests()}
    gc.disable()
    try:
        for _ in range(5):
            await client.send(
                Region.NA, access_token="Atza|1", advertiser_id="1", conversions=[b'{"eventId":"e"}']
            )
        left = [one for one in requests() if id(one) not in before]
    finally:
        gc.enable()
        await client.close()
    assert left == []
