"""The socket under httpcore: what is written together."""

import asyncio
from collections.abc import Iterable

import httpcore
import pytest

from app.amazon.network import AsyncioStream

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"


class Writer:
    """Records each call that the kernel would see."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def writelines(self, buffers: Iterable[bytes]) -> None:
        self.calls.append(b"".join(buffers))

    async def drain(self) -> None:
        if b"lost" in self.calls[-1]:
            raise ConnectionResetError


class Reader:
    async def read(self, n: int) -> bytes:
        return b"response"[:n]


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def stream(writer: Writer) -> AsyncioStream:
    return AsyncioStream(Reader(), writer)  # type: ignore[arg-type]


class TestTheHeadOfARequest:
    async def test_is_written_together_with_the_start_of_its_body(
        self, stream: AsyncioStream, writer: Writer
    ) -> None:
        for part in (HEAD, b"first", b"second", b""):
            await stream.write(part)
        assert writer.calls == [HEAD + b"first", b"second"]

    async def test_is_written_alone_when_there_is_no_body(
        self, stream: AsyncioStream, writer: Writer
    ) -> None:
        await stream.write(HEAD)
        await stream.write(b"")
        assert writer.calls == [HEAD]

    async def test_is_written_before_the_response_is_read(
        self, stream: AsyncioStream, writer: Writer
    ) -> None:
        await stream.write(HEAD)
        assert await asyncio.wait_for(stream.read(100), 30) == b"response"
        assert writer.calls == [HEAD]

    async def test_is_not_written_again_after_an_error(self, stream: AsyncioStream, writer: Writer) -> None:
        await stream.write(HEAD)
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"lost")
        await stream.read(100)
        assert writer.calls == [HEAD + b"lost"]
