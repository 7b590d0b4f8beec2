"""Defects that campaigns found, in their smallest form."""

import asyncpg

from app.store.errors import is_unavailable


def test_a_session_that_the_server_ended_between_two_statements_is_trouble_that_passes() -> None:
    """Seed 120: statistics were answered 500 when the driver met a FATAL that it did not expect."""
    assert is_unavailable(asyncpg.InternalClientError("cannot switch to state 12"))
    assert not is_unavailable(asyncpg.InterfaceError("invalid input for query argument $1"))
