"""The fixtures of these tests; those that open sockets run on both loops, asyncio's and the worker's."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.listening import listen

__all__ = ["listen"]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run a test on each of these."""
    if "listen" in getattr(item, "fixturenames", ()):
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
