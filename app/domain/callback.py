"""The body and the signature of a callback to the journey engine.

Headers and signature follow Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`. A callback has one
signature for each configured secret, so that a receiver can verify it during a rotation of secrets.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

TYPE: Final = "events.final"
SECRET_PREFIX: Final = "whsec_"  # noqa: S105
SECRET_BYTES: Final = range(24, 65)


@dataclass(frozen=True, slots=True)
class FinalState:
    """The final state of one event, as the callback's body contains it. No personal data."""

    event_id: str
    destination_id: str
    mapping_id: str | None
    state: str
    code: str | None
    reason: str | None
    at: datetime
    # The trace context of the request that contained the event. The body omits it if the request had none.
    traceparent: str | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The receiver confirmed a message: an HTTP server with status 2xx, or a mail server by accepting it."""


@dataclass(frozen=True, slots=True)
class NotAcknowledged:
    """The receiver did not confirm a message.

    `why` is a code, such as `status_500`. `retry_after` is the receiver's `Retry-After` in seconds.
    """

    why: str
    retry_after: float | None = None


def render(events: Sequence[FinalState], *, made_at: datetime) -> bytes:
    """Return the body of a callback. The same arguments always give the same bytes."""
    return msgspec.json.encode({"type": TYPE, "timestamp": made_at, "data": {"events": events}})


def headers(secrets: Sequence[bytes], *, id: str, at: datetime, body: bytes) -> Mapping[str, str]:
    """Return the headers of a callback that is sent at `at`, signed with each secret."""
    timestamp = str(int(at.timestamp()))
    signed = b".".join((id.encode(), timestamp.encode(), body))
    digests = (hmac.digest(secret, signed, hashlib.sha256) for secret in secrets)
    signatures = " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
    return {"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures}


def read_secrets(text: str) -> tuple[bytes, ...]:
    """Decode comma-separated secrets, `whsec_BASE64,…`. Raises ValueError; its text contains no secret."""
    secrets = []
    for position, part in enumerate(text.split(","), start=1):
        try:
            secret = base64.b64decode(part.strip().removeprefix(SECRET_PREFIX), validate=True)
        except ValueError:
            raise ValueError(f"entry {position} is not base64 behind {SECRET_PREFIX}") from None
        if len(secret) not in SECRET_BYTES:
            bounds = f"{SECRET_BYTES[0]} to {SECRET_BYTES[-1]}"
            raise ValueError(f"entry {position} must hold {bounds} bytes, not {len(secret)}")
        secrets.append(secret)
    return tuple(secrets)
