"""What the connection passes to the endpoint of `POST /events`: keys of the ASGI scope's state."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from app.api.headers import RawHeaders

# The request's `Permit`, if the connection admitted it by its head.
PERMIT: Final = "permit"
# The request's `Respond`. Take it out: the scope would refer to itself.
RESPOND: Final = "respond"

# Sends a complete response: its status, headers and body.
Respond: TypeAlias = Callable[[int, RawHeaders, bytes], Awaitable[None]]
