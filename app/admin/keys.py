"""Acts on keys, each with its row in the audit: the same for a route and for the command line.

A key itself is returned once, to be shown, and kept nowhere.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.ids import new_id
from app.domain.ids import KeyId
from app.store import audit, keys
from app.store.keys import ApiKey

DAY_S = 24 * 3600
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_key() -> str:
    """Return a new key: `ack_` and 256 random bits in 43 letters and digits, easy to select and paste."""
    number, letters = int.from_bytes(secrets.token_bytes(32)), ""
    for _ in range(43):
        number, rest = divmod(number, 62)
        letters = _DIGITS[rest] + letters
    return f"ack_{letters}"


def hint_of(key: str) -> str:
    """Return enough of a key to tell it from others: its first eight characters."""
    return key[:8]


def digest_of(key: str) -> bytes:
    """Return what is kept of a key. A plain hash suffices: 256 random bits cannot be guessed."""
    return hashlib.sha256(key.encode()).digest()


def audit_view(key: ApiKey) -> dict[str, Any]:
    """Return what the audit keeps of a key."""
    return {
        "name": key.name,
        "hint": key.hint,
        "scopes": list(key.scopes),
        "destination_ids": None if key.destination_ids is None else list(key.destination_ids),
        "expires_at": key.expires_at,
    }


async def create_key(
    connection: AsyncConnection,
    *,
    name: str,
    scopes: Sequence[str],
    destination_ids: Sequence[str] | None,
    expires_at: datetime | None,
    by: str,
    replaces: KeyId | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; return what is kept of it, and the key itself."""
    secret = new_key()
    made = await keys.create(
        connection,
        KeyId(new_id("key_")),
        name=name,
        hint=hint_of(secret),
        digest=digest_of(secret),
        scopes=sorted(set(scopes)),
        destination_ids=None if destination_ids is None else sorted(set(destination_ids)),
        expires_at=expires_at,
        created_by=by,
        replaces=replaces,
    )
    after = audit_view(made) if replaces is None else {**audit_view(made), "replaces": replaces}
    await audit.record(
        connection, actor=by, action=audit.AuditAction.KEY_CREATED, subject=made.id, after=after
    )
    return made, secret


class NotRotated(StrEnum):
    """Why a key gets no successor."""

    ENDED = "ended"
    """It is revoked or has expired, or there is none of this id."""
    HAS_SUCCESSOR = "has_successor"
    """It was rotated before, and the key that replaces it may still act."""


async def rotate_key(
    connection: AsyncConnection, key: str, *, overlap_s: int, expires_at: datetime | None, by: str
) -> tuple[ApiKey, str, ApiKey] | NotRotated:
    """Make a key that may do what another may, and let the other end after an overlap.

    Returns the new one, itself, and the old one as it is now. Of several calls at once one makes a successor.
    """
    old = await keys.lock(connection, key)
    if old is None:
        return NotRotated.ENDED
    if await keys.has_successor(connection, old.id):
        return NotRotated.HAS_SUCCESSOR
    made, secret = await create_key(
        connection,
        name=old.name,
        scopes=old.scopes,
        destination_ids=old.destination_ids,
        expires_at=expires_at,
        by=by,
        replaces=old.id,
    )
    ending = await keys.set_expiry(connection, old.id, seconds=overlap_s)
    await audit.record(
        connection,
        actor=by,
        action=audit.AuditAction.KEY_ROTATED,
        subject=old.id,
        before=audit_view(old),
        after={**audit_view(ending), "replaced_by": made.id},
    )
    return made, secret, ending


async def revoke_key(connection: AsyncConnection, key: ApiKey, *, by: str) -> ApiKey | None:
    """Revoke a key for good, or return None when it already was."""
    revoked = await keys.revoke(connection, key.id)
    if revoked is not None:
        await audit.record(
            connection, actor=by, action=audit.AuditAction.KEY_REVOKED, subject=key.id, before=audit_view(key)
        )
    return revoked
