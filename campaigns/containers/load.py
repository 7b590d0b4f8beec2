"""Post events and read routes until a line arrives on standard input; print how many requests failed."""

import asyncio
import json
import sys
import threading
from collections import Counter
from datetime import UTC, datetime

import httpx

from app.domain.mapping.presets import EXAMPLE_MAPPING, example_event

CALLERS = 12


async def main(address: str, key: str) -> None:
    """Run the callers; a failed request is any exception and any status except 202 of a post and 200 of a read."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(
        target=lambda: (sys.stdin.readline(), loop.call_soon_threadsafe(stop.set)), daemon=True
    ).start()
    results: Counter[str] = Counter()
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, verify=False, timeout=30) as client:
        destination = await example_destination(client)
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(call(client, destination, number, stop, results))
    failed = sum(times for result, times in results.items() if result not in {"POST 202", "GET 200"})
    print(json.dumps({"requests": results.total(), "failed": failed, "results": results}))


async def call(
    client: httpx.AsyncClient, destination: str, caller: int, stop: asyncio.Event, results: Counter[str]
) -> None:
    """Send a post and a read in turns."""
    number = 0
    while not stop.is_set():
        number += 1
        event = example_event(datetime.now(UTC))
        body = {**event, "destination_id": destination, "event_id": f"load-{caller}-{number}"}
        for method, path, content in (
            ("POST", "/events", body),
            ("GET", f"/destinations/{destination}", None),
        ):
            try:
                response = await client.request(method, path, json=content)
                results[f"{method} {response.status_code}"] += 1
            except httpx.HTTPError as error:
                results[type(error).__name__] += 1
        await asyncio.sleep(0.002)


async def example_destination(client: httpx.AsyncClient) -> str:
    """Create a destination with a published mapping."""
    response = await client.post(
        "/destinations",
        json={"name": "Load", "advertiser_id": "1000000000001", "region": "EU", "currency": "USD"},
    )
    destination: str = response.raise_for_status().json()["id"]
    created = await client.post(f"/destinations/{destination}/mappings", json=EXAMPLE_MAPPING)
    mapping_id = created.raise_for_status().json()["id"]
    (await client.post(f"/destinations/{destination}/mappings/{mapping_id}/publish")).raise_for_status()
    return destination


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
