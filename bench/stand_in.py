"""A minimal stand-in for Amazon: accepts every event immediately and records arrival times.

It does not check the contract, as the sandbox does. Run as
`python -m bench.stand_in PORT ADVERTISERS [NUMBER=crowded|slow|failing …]`; hostile ones are not logged.
"""

import asyncio
import json
import re
import sys
import time
from typing import Any

import uvicorn

ADVERTISER = 5_000_000_000_000
_NUMBER = re.compile(rb'"eventId":"[0-9a-f]{16}:[^"]*-([0-9]+)"')
_COUNT = b'"eventDescription"'


class StandIn:
    """One ASGI callable. `GET /_log` gives [seconds on the monotonic clock, first number, …] a request."""

    def __init__(self, advertisers: int, hostile: dict[bytes, str] | None = None) -> None:
        self._hostile = hostile or {}
        self._hostile_requests = dict.fromkeys(self._hostile.values(), 0)
        self._accounts = json.dumps(
            {
                "advertiserAccounts": [
                    {
                        "advertiserAccountId": str(ADVERTISER + i),
                        "displayName": f"Bench {i}",
                        "currencyCode": "USD",
                    }
                    for i in range(advertisers)
                ]
            }
        ).encode()
        self._replies: dict[int, bytes] = {}
        self._log: list[tuple[float, list[int]]] = []
        self.events = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        how = self._hostile.get(_advertiser(scope)) if self._hostile else None
        if how is None:
            status, answer = self._answer(scope["path"], body)
        else:
            status, answer = await self._harm(how, body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _harm(self, how: str, body: bytes) -> tuple[int, bytes]:
        self._hostile_requests[how] += 1
        if how == "slow":
            await asyncio.sleep(10)
        return (500, b"{}") if how == "failing" else (207, self._reply(body.count(_COUNT)))

    def _answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path.endswith("/adsApi/v1/create/events"):
            now = time.monotonic()
            numbers = [int(found) for found in _NUMBER.findall(body)]
            self._log.append((now, numbers))
            self.events += len(numbers)
            return 207, self._reply(body.count(_COUNT))
        if path.endswith("/auth/o2/token"):
            tokens = {"access_token": "Atza|bench", "refresh_token": "Atzr|bench", "token_type": "bearer"}
            return 200, json.dumps({**tokens, "expires_in": 3600}).encode()
        if path.endswith("/query/advertiserAccounts"):
            return 200, self._accounts
        if path == "/_count":
            return 200, str(self.events).encode()
        if path == "/_hostile":
            return 200, json.dumps(self._hostile_requests).encode()
        if path == "/_log":
            told, self._log, self.events = self._log, [], 0
            return 200, json.dumps(told).encode()
        return 404, b"{}"

    def _reply(self, events: int) -> bytes:
        if events not in self._replies:
            success = [{"index": index, "event": {}} for index in range(events)]
            self._replies[events] = json.dumps({"success": success, "error": []}).encode()
        return self._replies[events]


def _advertiser(scope: Any) -> bytes:
    """Return the advertiser of an events call; empty for other calls."""
    if not scope["path"].endswith("/adsApi/v1/create/events"):
        return b""
    return next((value for name, value in scope["headers"] if name == b"amazon-ads-accountid"), b"")


if __name__ == "__main__":
    uvicorn.run(
        StandIn(
            int(sys.argv[2]),
            {
                str(ADVERTISER + int(number)).encode(): how
                for number, _, how in (one.partition("=") for one in sys.argv[3:])
            },
        ),
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
