"""Create and revoke API keys. Every change writes a row in the audit.

`list_keys`, `create_key` and `revoke_key` are the use cases of API and console: each opens its
transaction and raises `Refusal`. The other functions run in the caller's transaction and check no permission;
the command line uses them. A key's secret is returned once and never stored.
"""

import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import (
    BOOTSTRAP,
    Caller,
    ErrorCode,
    FieldProblem,
    Refusal,
    Scope,
    copy_as,
    invalid,
    new_id,
    require_found,
    require_future,
    require_id,
)
from app.admin.context import AppContext
from app.admin.inputs import Instant, Printable, RequestBody
from app.crypto import secret_digest
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId, KeyId
from app.store import audit
from app.store.access import keys
from app.store.access.keys import ApiKey, KeyGrant
from app.store.audit import AuditAction
from app.store.destinations import destinations

_DIGITS = string.digits + string.ascii_letters


class NewKey(RequestBody):
    """A key to create. Without `destination_ids` it can use every destination."""

    name: Printable = Field(examples=["journey engine"])
    scopes: Annotated[list[Literal[tuple(Scope)]], Field(min_length=1, max_length=len(Scope))]  # type: ignore[valid-type]
    destination_ids: Annotated[list[str], Field(min_length=1, max_length=1000)] | None = None
    expires_at: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey(ApiKey):
    """A new key, with its secret."""

    key: Annotated[str, Field(description="The secret. It is in this response only.")] = field(repr=False)


def new_key() -> str:
    """Return a new secret: `ack_` and 43 random letters and digits, 256 bits."""
    return "ack_" + "".join(secrets.choice(_DIGITS) for _ in range(43))


def audit_view(key: ApiKey) -> dict[str, Any]:
    """Return the members of a key that the audit records."""
    return {name: getattr(key, name) for name in _AUDITED}


_AUDITED = ("name", "hint", "scopes", "destination_ids", "expires_at")


async def list_keys(
    context: AppContext,
    *,
    limit: int,
    after: tuple[datetime, str] | None = None,
    sends_to: DestinationId | None = None,
) -> list[ApiKey]:
    """Return up to `limit` keys that the caller may see, oldest first, created after `after` (time, id).

    With `sends_to`, only keys that can send events to this destination now.
    """
    without = None if context.caller.is_platform else Scope.ORGANISATIONS_ADMIN
    usable = None if sends_to is None else (Scope.EVENTS_WRITE, sends_to)
    wanted = keys.KeyFilter(context.caller.only, without, usable)
    async with context.engine.connect() as connection:
        return await keys.page(connection, wanted, limit=limit, after=after)


async def create_key(context: AppContext, body: NewKey) -> IssuedKey:
    """Create a key; return it with its secret.

    A caller that is limited to some destinations can only create keys limited to some of these.
    """
    require_future("expires_at", body.expires_at, context.now())
    _require_grantable(context.caller, body)
    if body.destination_ids is None and context.caller.destination_ids is not None:
        detail = "This key is limited to its destinations. Limit the new key to some of them."
        raise invalid("destination_ids", "missing", detail)
    async with context.engine.begin() as connection:
        if body.destination_ids is not None:
            await _require_known(connection, context.caller, body.destination_ids)
        return await insert_key(connection, KeyGrant(**body.model_dump()), by=context.caller.actor)


async def revoke_key(context: AppContext, key_id: str) -> ApiKey:
    """Revoke a key permanently and return it. Revoking it again changes nothing.

    Raises Refusal (404) for a key that the caller may not change.
    """
    require_id("key_", key_id)
    async with context.engine.begin() as connection:
        key = await _find_changeable(connection, context.caller, key_id)
        revoked = await mark_revoked(connection, key, by=context.caller.actor) or key
    context.forget_key(key.id)
    return revoked


def _require_grantable(caller: Caller, body: NewKey) -> None:
    """Raise Refusal if the caller may not grant these scopes: only the bootstrap key makes platform keys."""
    if Scope.ORGANISATIONS_ADMIN not in body.scopes:
        return
    if caller.key != BOOTSTRAP:
        raise Refusal(ErrorCode.FORBIDDEN, "Only the bootstrap key can grant organisations:admin.")
    if caller.organisation != DEFAULT_ORGANISATION:
        detail = (
            "A key with organisations:admin acts in every organisation. Create it without organisation_id."
        )
        raise invalid("scopes", "not_allowed", detail)


async def _require_known(connection: AsyncConnection, caller: Caller, destination_ids: Sequence[str]) -> None:
    missing = await destinations.missing(connection, destination_ids)
    unknown = [
        FieldProblem(f"destination_ids[{index}]", "unknown")
        for index, destination in enumerate(destination_ids)
        if destination in missing or not caller.sees(destination)
    ]
    if unknown:
        raise Refusal(ErrorCode.INVALID, None, *unknown)


async def _find_changeable(connection: AsyncConnection, caller: Caller, key_id: str) -> ApiKey:
    """Return a key if the caller may use all its destinations. Raises Refusal (404)."""
    key = require_found(await keys.find(connection, key_id))
    own = caller.destination_ids
    is_foreign = own is not None and (key.destination_ids is None or not own.issuperset(key.destination_ids))
    # Only platform keys can see platform keys.
    if is_foreign or (Scope.ORGANISATIONS_ADMIN in key.scopes and not caller.is_platform):
        raise Refusal(ErrorCode.NOT_FOUND)
    return key


async def insert_key(connection: AsyncConnection, grant: KeyGrant, *, by: str) -> IssuedKey:
    """Store a new key; return it with its secret."""
    secret = new_key()
    distinct = None if grant.destination_ids is None else tuple(sorted(set(grant.destination_ids)))
    key = await keys.create(
        connection,
        KeyId(new_id("key_")),
        replace(grant, scopes=tuple(sorted(set(grant.scopes))), destination_ids=distinct),
        hint=secret[:8],  # distinguishes the key from others in lists
        digest=secret_digest(secret),
        created_by=by,
    )
    await audit.record(connection, by, AuditAction.KEY_CREATED, key.id, after=audit_view(key))
    return copy_as(IssuedKey, key, key=secret)


async def mark_revoked(connection: AsyncConnection, key: ApiKey, *, by: str) -> ApiKey | None:
    """Revoke a key permanently. Return None if the key was already revoked."""
    revoked = await keys.revoke(connection, key.id)
    if revoked is not None:
        await audit.record(connection, by, AuditAction.KEY_REVOKED, key.id, before=audit_view(key))
    return revoked
