"""The body and the signature of a callback to the journey engine. Pure.

Headers and signature follow Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, one signature for each
configured secret, so that a receiver can verify every callback during a rotation.
"""

import base64
import binascii
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
    """One event's final state: ids, codes and a time, no personal data."""

    event_id: str
    destination_id: str
    mapping_id: str | None
    state: str
    code: str | None
    reason: str | None
    at: datetime
    # Of the request that contained the event; left out if it had none.
    traceparent: str | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The journey engine returned 2xx."""


@dataclass(frozen=True, slots=True)
class NotAcknowledged:
    """The journey engine did not return 2xx. `why` is a code or a status; `retry_after` is in seconds, if it
    sent one.
    """

    why: str
    retry_after: float | None = None


def render(events: Sequence[FinalState], *, made_at: datetime) -> bytes:
    """Return a callback's body: the same bytes for the same events in every attempt."""
    return msgspec.json.encode({"type": TYPE, "timestamp": made_at, "data": {"events": events}})


def headers(secrets: Sequence[bytes], *, id: str, at: datetime, body: bytes) -> Mapping[str, str]:
    """Return the headers with a callback's id, the time it is sent, and the signatures."""
    timestamp = str(int(at.timestamp()))
    signed = b".".join((id.encode(), timestamp.encode(), body))
    signatures = [
        base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets
    ]
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def read_secrets(text: str) -> tuple[bytes, ...]:
    """Read `whsec_BASE64,…`. Raises ValueError with a sentence that contains no secret."""
    secrets = []
    for position, part in enumerate(text.split(","), start=1):
        try:
            secret = base64.b64decode(part.strip().removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"entry {position} is not base64 behind {SECRET_PREFIX}") from None
        if len(secret) not in SECRET_BYTES:
            raise ValueError(
                f"entry {position} must hold {SECRET_BYTES[0]} to {SECRET_BYTES[-1]} bytes, not {len(secret)}"
            )
        secrets.append(secret)
    return tuple(secrets)
