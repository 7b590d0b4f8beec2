"""Stalled and idle connections, with one key or without, do not slow other callers.

Times are measured by `./run campaign stalled`; here every post of another key is taken, and both health
addresses answer as before.
"""

import asyncio
from pathlib import Path

import pytest

from campaigns.edge.stalled import compare
from tests.edge.service import running_service

POSTS = 80


@pytest.mark.long
def test_another_key_is_served_beside_stalled_and_idle_connections(database_url: str, tmp_path: Path) -> None:
    """60 connections that declare 5 MiB each, and 1,100 that send nothing."""
    with running_service(database_url, tmp_path, 2) as service:
        alone, beside, _ = asyncio.run(compare(service, service.callers, POSTS))
    assert alone.statuses["/events 202"] == POSTS
    assert beside.statuses == alone.statuses
    assert beside.quantile(0.5) < 10 * alone.quantile(0.5)
