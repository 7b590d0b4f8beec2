"""Commit to every server of a cluster all the time, and record when one accepted a write."""

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import asyncpg

from app.store.errors import DRIVER_ERRORS

EVERY_S: Final = 0.1
TIMEOUT_S: Final = 1.0
TABLE: Final = "public.drill_writes"
# A row fills a page, so that a write needs space on the disk, as the service's writes do.
CREATE: Final = f"CREATE TABLE {TABLE} (filler text); ALTER TABLE {TABLE} ALTER filler SET STORAGE EXTERNAL"
WRITE: Final = f"INSERT INTO {TABLE} VALUES (repeat('x', 8000))"


class WriteProbe:
    """A thread that writes to the server of each URL. `accepted` are the times of commits, as `time.time` has them."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self.accepted: list[float] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._write(url) for url in self._urls))

    async def _write(self, url: str) -> None:
        while not self._stopping.is_set():
            connection = None
            with suppress(*DRIVER_ERRORS):
                connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
                while not self._stopping.is_set():
                    await connection.execute(WRITE)
                    self.accepted.append(time.time())
                    await asyncio.sleep(EVERY_S)
            if connection is not None:
                connection.terminate()
            await asyncio.sleep(EVERY_S)
