"""Opens connections that begin a post and never send its body.

`python -m bench.stalled PORT KEY CONNECTIONS`. Connections that the service closes are opened again.
"""

import asyncio
import contextlib
import sys


async def _stall(port: int, head: bytes) -> None:
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            await reader.read()  # until the service closes
            writer.close()
        await asyncio.sleep(5)


async def main(port: str, key: str, connections: str) -> None:
    """Keep connections open."""
    head = (
        f"POST /events HTTP/1.1\r\nHost: bench\r\nX-Api-Key: {key}\r\nContent-Type: application/json\r\n"
        'Content-Length: 60000\r\n\r\n{"events": ['
    ).encode()
    await asyncio.gather(*[_stall(int(port), head) for _ in range(int(connections))])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
