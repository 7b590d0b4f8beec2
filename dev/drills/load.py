"""Send events to a destination continuously, and record which were accepted and when."""

import threading
import time
from collections import Counter
from datetime import UTC, datetime

import httpx

from dev.drills.stage import Stage
from dev.example import Example

BATCH = 20
RETRY_S = 0.2


def event_of(event_id: str, destination: Example, at: datetime) -> dict[str, object]:
    """Return an event of a person of its own."""
    return {
        "event_id": event_id,
        "destination_id": destination.destination_id,
        "event": {"name": "addToCart", "timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}"},
        "user": {"email": f"{event_id}@example.com", "country": "US"},
    }


class Load:
    """Threads that send events. A post that fails is repeated with the same ids until it is accepted."""

    def __init__(
        self,
        stage: Stage,
        *,
        callers: int = 4,
        pause_s: float = 0.02,
        events: int = BATCH,
        destination: Example | None = None,
        name: str = "drill",
    ) -> None:
        """Prepare `callers` threads with `events` per post. `name` must differ from other loads' names."""
        self._stage = stage
        self._pause_s = pause_s
        self._events = events
        self._name = name
        self.destination = destination or stage.example
        self._stopping = threading.Event()
        self._until_answered = False
        self._lock = threading.Lock()
        self.accepted: dict[str, datetime] = {}
        self.answers: Counter[str] = Counter()
        self._slowest_s = 0.0
        self._threads = [
            threading.Thread(target=self._call, args=(number,), daemon=True) for number in range(callers)
        ]

    @property
    def requests(self) -> int:
        """Return the number of requests so far."""
        return self.answers.total()

    @property
    def failed(self) -> int:
        """Return the number of requests without a response or with a status 5xx."""
        return sum(times for answer, times in self.answers.items() if not answer.startswith(("2", "4")))

    def slowest_s(self) -> float:
        """Return the duration in seconds of the slowest request since the last call."""
        with self._lock:
            slowest, self._slowest_s = self._slowest_s, 0.0
        return slowest

    def start(self) -> None:
        """Start to send events."""
        for thread in self._threads:
            thread.start()

    def stop(self, *, answered: bool = False) -> None:
        """Stop after the posts in progress. With `answered`, repeat these posts until they are accepted."""
        self._until_answered = answered
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _call(self, caller: int) -> None:
        number = 0
        with httpx.Client(base_url=self._stage.api, headers=self._stage.headers, timeout=10) as client:
            while not self._stopping.is_set():
                number += 1
                ids = [f"{self._name}-{caller}-{number}-{place}" for place in range(self._events)]
                body = [event_of(event_id, self.destination, datetime.now(UTC)) for event_id in ids]
                while not self._post(client, ids, body):
                    if self._stopping.is_set() and not self._until_answered:
                        break
                    time.sleep(RETRY_S)
                self._stopping.wait(self._pause_s)

    def _post(self, client: httpx.Client, ids: list[str], body: list[dict[str, object]]) -> bool:
        began = time.monotonic()
        try:
            response = client.post("/events", json=body)
        except httpx.HTTPError as error:
            with self._lock:
                self.answers[type(error).__name__] += 1
            return False
        with self._lock:
            self._slowest_s = max(self._slowest_s, time.monotonic() - began)
            self.answers[str(response.status_code)] += 1
            if response.status_code == httpx.codes.ACCEPTED:
                now = datetime.now(UTC)
                self.accepted.update(dict.fromkeys(ids, now))
                return True
        return False
