"""The map in `app/__init__.py` names the functions that one ordinary event really passes.

One event goes through a real socket, a real Postgres and a worker, with Amazon behind the HTTP transport.
Meanwhile a profiler notes the calls of all functions of `app`.
"""

import asyncio
import importlib
import inspect
import json
import re
import sys
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import app
from app.server.admission import MEMORY_SAMPLE_INTERVAL_S
from tests.pipeline.served import ADMIN, served_world
from tests.pipeline.world import event

ROOT = Path(__file__).resolve().parents[2]
STATION = re.compile(r"^    (?:\w+)? +(app(?:\.\w+)+)", re.MULTILINE)
# The packages that an event visits from `match_mapping` on. `domain`, `store` and `crypto` serve all of them;
# `server` has callbacks of its own on the event loop.
VISITED = ["ingest", "api", "delivery", "amazon", "delivery"]
NUMBERS = re.compile(r"calls (\d+) functions in\s(\d+) files")
# A function counts if each of so many events calls it, and no timer of an idle process does.
EVENTS = 12
IDLE_SECONDS = 6


def stations() -> list[str]:
    """Return the functions that the map names, in its order."""
    assert app.__doc__ is not None
    return STATION.findall(app.__doc__)


def code_of(name: str) -> Any:
    """Return the code object of a function named by its dotted path."""
    words = name.split(".")
    for length in range(len(words) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(words[:length]))
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            found = getattr(found, word)
        return inspect.unwrap(found).__code__
    raise AssertionError(name)


class Calls:
    """The functions of `app` that were called, in the order of their first calls."""

    def __init__(self) -> None:
        self.order: dict[CodeType, None] = {}
        # References keep each frame apart. A coroutine has one frame, however often it waits.
        self.frames: set[FrameType] = set()

    def __call__(self, frame: FrameType, what: str, _argument: object) -> None:
        """Note a call (`sys.setprofile`)."""
        is_of_app = frame.f_code.co_filename.startswith(str(ROOT / "app"))
        if what == "call" and is_of_app and not is_of_a_job(frame):
            self.order.setdefault(frame.f_code)
            self.frames.add(frame)

    def times(self, station: str) -> int:
        """Return how often a function of the map was called."""
        return sum(frame.f_code is code_of(station) for frame in self.frames)

    def place(self, station: str) -> int | None:
        """Return when a function of the map was first called; None when it was not called."""
        code = code_of(station)
        return list(self.order).index(code) if code in self.order else None

    def packages(self, begin: int, idle: "Calls") -> list[str]:
        """Return the packages that were visited from the function at `begin` on, without those of timers."""
        called = [code for code in list(self.order)[begin:] if code not in idle.order]
        packages = [Path(code.co_filename).relative_to(ROOT / "app").parts[0] for code in called]
        return [name for name, _ in groupby(name for name in packages if name in set(VISITED))]

    def is_undisturbed(self, idle: "Calls") -> bool:
        """Whether each station was called once, and the packages were visited as often as the map says."""
        begin = self.place("app.ingest.evaluate.match_mapping") or 0
        return self.packages(begin, idle) == VISITED and all(self.times(name) == 1 for name in stations())


def is_of_a_job(frame: FrameType | None) -> bool:
    """Tell whether a call is of a job that reads the event in the background, at any time."""
    while frame is not None:
        if frame.f_code.co_filename.endswith(("ingest/schema_sampler.py", "delivery/balance_check.py")):
            return True
        frame = frame.f_back
    return False


async def post(port: int, destination: str, number: int) -> None:
    """Post one event over a connection of its own and require a 202."""
    body = json.dumps({"destination_id": destination, **event(number)}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (ADMIN.encode(), len(body), body)
    )
    assert (await reader.read()).startswith(b"HTTP/1.1 202 ")
    writer.close()


async def profile_events(database_url: str, *, at_least: int, at_most: int) -> tuple[list[Calls], Calls]:
    """Send events until one is undisturbed; return the calls of each, and those of idle seconds.

    A first event fills the caches.
    """
    profiles: list[Calls] = []
    idle = Calls()
    async with served_world(database_url) as (world, port):
        destination = await world.destination()
        world.work()
        await post(port, destination, 0)
        await world.until(destination, delivered=1)
        sys.setprofile(idle)
        await asyncio.sleep(IDLE_SECONDS)
        sys.setprofile(None)
        for number in range(1, at_most + 1):
            calls = Calls()
            await asyncio.sleep(MEMORY_SAMPLE_INTERVAL_S)  # so that each event reads the memory in use
            sys.setprofile(calls)
            try:
                await post(port, destination, number)
                async with asyncio.timeout(20):
                    while calls.place(stations()[-1]) is None:
                        await asyncio.sleep(0.01)
            finally:
                sys.setprofile(None)
            await world.until(destination, delivered=number + 1)
            profiles.append(calls)
            if calls.is_undisturbed(idle) and number >= at_least:
                break
        await world.stop_workers()
    return profiles, idle


async def test_one_event_calls_the_functions_of_the_map_in_its_order(database_url: str) -> None:
    """Each named function is called; the packages are visited as often as the map says.

    Timers of the process run in between, more often on a busy machine, so one event has to be undisturbed.
    """
    profiles, idle = await profile_events(database_url, at_least=EVENTS, at_most=50)
    for calls in profiles:
        assert [name for name in stations() if calls.place(name) is None] == []
    places = {station: profiles[-1].place(station) for station in stations()}
    assert len(places) >= 12
    assert list(places) == sorted(places, key=lambda name: places[name] or 0)
    assert profiles[-1].is_undisturbed(idle)
    common = set.intersection(*(set(calls.order) for calls in profiles)) - idle.order.keys()
    # Before Python 3.12, a comprehension is a function of its own.
    ours = [code for code in common if not code.co_name.endswith("comp>")]
    numbers = NUMBERS.search((ROOT / "docs" / "architecture.md").read_text())
    assert numbers is not None
    files = {code.co_filename for code in ours}
    # A timer that runs during all events, but not in the idle seconds, adds its functions.
    assert 0 <= len(ours) - int(numbers[1]) <= 10
    assert 0 <= len(files) - int(numbers[2]) <= 4
