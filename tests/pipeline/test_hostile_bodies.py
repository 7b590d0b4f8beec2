"""Bodies made to fill memory: the API stays within its bound, and answers others all the while."""

import asyncio
import resource
import subprocess
import sys
import time
from pathlib import Path

import httpx

from app.api.events.intake import MOST_CONTAINERS, MOST_VALUES
from app.domain.admission import MIB, Limits
from tests.pipeline.processes import ADMIN, Product, running_product
from tests.pipeline.world import stamp

# The values of the one event that is parsed (a decimal and its slot in a list take 112 bytes, an object 240),
# with copies of its text, and the texts of those that wait for their turn or their refusal.
MOST_MIB = (112 * MOST_VALUES + 240 * MOST_CONTAINERS + Limits().body_bytes) / MIB + 25
# Just fewer values than are refused, in the shapes that become most in memory.
EVENT = f'"event": {{"timestamp": "{stamp()}"}}, "user": {{"email": "a@example.com"}}'
OBJECTS = ",".join(['{"a":1.5}'] * 245_000 + ["1.5"] * 250_000)
PADDINGS = {
    "objects": OBJECTS,
    "beside a list": f'], "rows": [{{{EVENT}}}], "y": [{OBJECTS}',
    "decimals": ",".join(["1.234567"] * 495_000),
    "lists and texts": ",".join(["[]"] * 245_000 + ['"abcdefghijklm"'] * 250_000),
}


DEEPEST = """
import asyncio
import httpx
from app.amazon.client import EventsClient
from app.domain import strict_json
from app.domain.destination import Region
from app.computation_thread import ComputationThread
body = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
print(asyncio.run(ComputationThread().run(1, strict_json.parse, body)).why)
amazon = httpx.MockTransport(lambda _: httpx.Response(500, content=body))
client = EventsClient("c", "http://amazon.test", amazon)
call = client.send(Region.NA, access_token="t", advertiser_id="1", conversions=[b"{}"] * 21)
print(type(asyncio.run(call).reply).__name__)
"""


def test_the_deepest_body_is_refused_whatever_stack_a_thread_gets() -> None:
    """Where `ulimit -s` is 2 MiB or unlimited, threads have 2 MiB, and the decoder needs more."""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    printed = subprocess.run(
        [sys.executable, "-c", DEEPEST],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (2 * MIB, hard)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.split() == ["too_deep", "ServerError"]


def highest_mib(pid: int) -> int:
    """Return the most memory that a process ever held, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


async def longest_wait(address: str, done: asyncio.Event) -> float:
    """Return the longest time in seconds until the API answered on a new connection."""
    longest = 0.0
    async with httpx.AsyncClient(headers={"Connection": "close"}, verify=False, trust_env=False) as client:
        while not done.is_set():
            began = time.monotonic()
            await client.get(address)
            longest = max(longest, time.monotonic() - began)
    return longest


async def test_bodies_made_to_fill_memory_do_not(database_url: str, tmp_path: Path) -> None:
    """Eight at once of each shape: they are stored or shed; 300 MiB at most. Others wait for none of them.

    More values, or lists and objects, than five thousand events have any use for are not even read: 413.
    """
    headers = {"X-Api-Key": ADMIN, "Content-Type": "application/json"}
    product = Product(database_url, tmp_path / "everything.log", forks=False)
    async with running_product(product, LOG_LEVEL="warning") as operator:
        client, pid = operator.client, product.children["api"].pid
        for one, times in (("[]", 1_500_000), ("1.5", 1_200_000)):
            body = f'{{"destination_id": "d", "x": [{",".join([one] * times)}]}}'
            answer = await client.post(product.api + "/events", content=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
        assert highest_mib(pid) < 180

        destination = await operator.destination("5800000002")
        before = highest_mib(pid)

        async def hostile(name: str, padding: str) -> int:
            body = f'{{"destination_id": "{destination}", "event_id": "{name}", {EVENT}, "x": [{padding}]}}'
            return (await client.post(product.api + "/events", content=body, headers=headers)).status_code

        for shape, padding in PADDINGS.items():
            sending = (hostile(f"{shape} {number}", padding) for number in range(8))
            done = asyncio.Event()
            waiting = asyncio.create_task(longest_wait(product.api + "/health/live", done))
            statuses = await asyncio.gather(*sending)
            done.set()
            longest = await waiting
            assert longest < 0.8, shape
            # 429 where the share of one key is full, 503 where all are.
            assert set(statuses) <= {202, 429, 503}
            assert 202 in statuses
        harmless = {"destination_id": destination, "event_id": "ok", "event": {"timestamp": stamp()}}
        (result,) = await operator.post([{**harmless, "user": {"email": "b@example.com"}}])
        assert result["status"] == "accepted"
        assert highest_mib(pid) - before <= MOST_MIB
        assert highest_mib(pid) <= 300
