"""`events tail`: print events as they arrive. It polls the API."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from app.commands.api.client import ApiClient, ApiUnreachable
from app.domain.event import JOURNEY_IDS

POLL_S: Final = 2.0
FIRST_SPAN: Final = timedelta(seconds=60)  # the age of the oldest events that are printed at the start
OVERLAP: Final = timedelta(seconds=10)
"""The overlap of the time ranges of two polls, because an event can be committed after a later one."""
COLUMNS: Final[Mapping[str, int]] = {
    "received_at": 24, "status": 9, "event_id": 28, "reason": 22, "event_type": 22, "destination_name": 20,
    "journey_id": 14, "node_id": 12,
}  # fmt: skip
FILTERS: Final = ("destination_id", "status", "reason", "event_type", *JOURNEY_IDS)

Item = dict[str, Any]


class TailWindow:
    """Decides which time range the next poll reads, and which of the polled items are new."""

    def __init__(self, now: datetime) -> None:
        self._since = now - FIRST_SPAN
        self._printed: dict[tuple[Any, ...], str] = {}

    @property
    def since(self) -> datetime:
        """Return the start of the time range of the next poll."""
        return self._since

    def news(self, items: Sequence[Item], polled_at: datetime) -> list[Item]:
        """Return the items that are new or have a new status, oldest first. The poll began at `polled_at`."""
        latest = {_key(item): item for item in items}
        new = [item for key, item in latest.items() if self._printed.get(key) != item["status"]]
        self._printed = {key: item["status"] for key, item in latest.items()}
        self._since = max(self._since, polled_at - OVERLAP)
        return sorted(new, key=lambda item: str(item["received_at"]))


def _key(item: Item) -> tuple[Any, ...]:
    """Return the values that identify an event.

    Rejected events with the same id have different times.
    """
    rejected_at = item["received_at"] if item["status"] == "rejected" else None
    return item["destination_id"], item["mapping_id"], item["event_id"], rejected_at


def tail_events(
    client: ApiClient, asked: argparse.Namespace, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Print events until Ctrl-C. After a lost connection it prints the events that arrived meanwhile."""
    began, clock = client.server_time(), time.monotonic()
    window = TailWindow(began)
    filters = {name: getattr(asked, name) for name in FILTERS}
    if not asked.json:
        print(_row({name: name.replace("_", " ") for name in COLUMNS}), flush=True)
    is_lost = False
    while True:
        polled_at = began + timedelta(seconds=time.monotonic() - clock)
        try:
            query = {**filters, "since": window.since.isoformat()}
            items = list(client.items("/event-search", query))
        except ApiUnreachable as problem:
            if not is_lost:
                print(f"{problem} Trying again…", file=sys.stderr, flush=True)
            is_lost = True
        else:
            if is_lost:
                print("Connected again.", file=sys.stderr, flush=True)
            is_lost = False
            for item in window.news(items, polled_at):
                print(json.dumps(item) if asked.json else _row(item), flush=True)
        sleep(POLL_S)


def _row(item: Mapping[str, Any]) -> str:
    cells = [_cell(item[name], width) for name, width in COLUMNS.items()]
    return "  ".join(cells).rstrip()


def _cell(value: Any, width: int) -> str:
    # Control characters must not reach the terminal.
    text = "-" if value is None else "".join(letter if letter.isprintable() else "?" for letter in str(value))
    return (text if len(text) <= width else f"{text[: width - 1]}…").ljust(width)
