"""The stand-in of a campaign: the sandbox in a process of its own, and a witness around it who writes.

The witness sees what crosses the wire and nothing else: when a request came, who it was for, the exact bytes
of each event as a hash, when the answer was out or the sender gone. What was taken in the end is in the
sandbox's own log; both number the requests in order of arrival. Neither is ever killed.
"""

import argparse
import asyncio
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.app import create_sandbox
from tests.crashes.evidence import Request, members_of

EVENTS = "/adsApi/v1/create/events"
WITNESS, JOURNAL = "witness.jsonl", "sandbox.jsonl"
# Faults under which the answer does not tell what was taken, or does not arrive.
UNCLEAR = frozenset(
    {
        *("never", "drop_after_accept", "drop_before_accept", "cut_short"),
        *("missing_index", "both_lists", "empty_207", "malformed", "5xx"),
    }
)


@dataclass(slots=True)
class _Received:
    """One request while it is under way. Stands where `send` does: the sandbox looks for its transport."""

    original: Send
    body: bytearray
    status: int | None = None
    retry_after: str | None = None
    ended: float = math.inf
    whole: bool = False

    @property
    def transport(self) -> Any:
        return getattr(getattr(self.original, "__self__", None), "transport", None)

    async def watch(self) -> None:
        """Note when the sender has gone; the sandbox, slow by a fault, does not look."""
        while self.transport is not None and not self.transport.is_closing():
            await asyncio.sleep(0.01)
        self.ended = min(self.ended, time.time())

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = {name.lower(): value for name, value in message.get("headers", [])}
            self.retry_after = headers.get(b"retry-after", b"").decode() or None
        await self.original(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.ended, self.whole = min(self.ended, time.time()), True


class Witness:
    """Wraps the stand-in; one line a request, written when it is over."""

    def __init__(self, app: ASGIApp, log: IO[bytes]) -> None:
        self._app = app
        self._log = log
        self._number = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith(EVENTS):
            await self._app(scope, receive, send)
            return
        self._number += 1
        number, began, seen = self._number, time.time(), _Received(send, bytearray())

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                seen.body += message.get("body", b"")
            elif message["type"] == "http.disconnect":
                seen.ended = min(seen.ended, time.time())
            return message

        watching = asyncio.create_task(seen.watch())
        try:
            await self._app(scope, watched, seen.send)
        finally:
            watching.cancel()
            headers = dict(scope["headers"])
            self._write(number, began, seen, headers.get(b"amazon-ads-accountid", b"").decode())

    def _write(self, number: int, began: float, seen: _Received, advertiser: str) -> None:
        try:
            ids, hashes = members_of(bytes(seen.body))
        except (msgspec.DecodeError, ValueError, KeyError):
            ids, hashes = (), ()  # a request that was cut off on its way: nothing of it was taken
        line = {
            "number": number,
            "began": began,
            "ended": min(seen.ended, time.time()),
            "advertiser": advertiser,
            "status": seen.status,
            "retry_after": seen.retry_after,
            "whole": seen.whole,
            "ids": ids,
            "hashes": hashes,
        }
        self._log.write(json.dumps(line).encode() + b"\n")
        self._log.flush()


def read(folder: Path, *, advertisers: frozenset[str]) -> list[Request]:
    """Return the requests for these advertisers, in order of arrival: the witness's log and the sandbox's."""
    journal = {}
    for line in (folder / JOURNAL).read_bytes().splitlines():
        entry = json.loads(line)
        journal[entry["request_id"]] = entry
    found = []
    for line in (folder / WITNESS).read_bytes().splitlines():
        seen = json.loads(line)
        if seen["advertiser"] not in advertisers:
            continue
        entry = journal.get(seen["number"])
        if entry is not None and seen["ids"]:
            witnessed = [(event_id or "").partition(":")[2] for event_id in entry["event_ids"]]
            assert witnessed in (seen["ids"], []), "witness and sandbox do not speak of the same request"
        outcomes = entry["outcomes"] if entry is not None else []
        taken = tuple(outcome == "accepted" for outcome in outcomes) or tuple(False for _ in seen["ids"])
        text = seen["retry_after"]
        found.append(
            Request(
                number=seen["number"],
                advertiser=seen["advertiser"],
                began=seen["began"],
                ended=seen["ended"],
                status=seen["status"],
                retry_after=float(text) if text is not None and text.isdecimal() else None,
                clear=seen["whole"] and (entry is None or entry["fault"] not in UNCLEAR),
                ids=tuple(seen["ids"]),
                hashes=tuple(seen["hashes"]),
                taken=taken,
            )
        )
    return sorted(found, key=lambda one: one.number)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.chaos.standin")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    sandbox = create_sandbox(log_path=options.folder / JOURNAL, access_life_s=3600)
    with (options.folder / WITNESS).open("ab") as log:
        uvicorn.run(
            Witness(sandbox, log), host="127.0.0.1", port=options.port, log_level="error", access_log=False
        )


if __name__ == "__main__":
    main()
