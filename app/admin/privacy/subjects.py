"""Erase the events of a person, read the signed receipt, and count the stored events of a person.

A search compares the same match key values as an erasure. The receipt is signed with an Ed25519 key.
"""

import asyncio
import base64
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ConfigDict

from app.admin import Caller, ErrorCode, FieldProblem, Refusal, new_id, require_found
from app.admin.context import AppContext
from app.admin.destinations.delivery_control import until_settled
from app.crypto import CannotDecrypt, Vault, open_batch
from app.delivery.delivery import SETTLED_WITHIN
from app.domain.privacy.carried_key import carried_key
from app.domain.privacy.erasure import HASH, IDENTIFYING_FIELDS, erasure_keys
from app.store.audit import AuditAction
from app.store.database.damage import newest_batch
from app.store.encryption import erasure_place, keep_secret
from app.store.privacy import erasures

_SECRET = "receipt_key"  # noqa: S105 - its name, not its value

# Stated on every receipt: data that this system cannot erase.
STORED_ELSEWHERE = (
    "Amazon keeps what it accepted; ask Amazon to erase it there.",
    "Backups and write-ahead logs of the database contain the old, encrypted content until they are rotated.",
    "Event ids, times, kinds of match keys and keyed digests remain until their partition is dropped.",
)
_BATCHES = 20  # of up to 500 events, decrypted in a thread
_SECONDS = 5.0  # of one request; the caller continues with the cursor
StoredStatus = Literal["waiting", "delivered", "dead"]
_STATUSES: Mapping[str | None, StoredStatus] = {
    None: "waiting",
    "sent": "delivered",
    "expired": "dead",
    "discarded": "dead",
    "retrying": "waiting",
    "delivered": "delivered",
    "dead": "dead",
}
# Where data may be that the search does not read, and why.
NOT_SEARCHED = (
    "Amazon, which stores the events that it accepted.",
    "Backups and write-ahead logs of the database.",
    "Batches whose data key was deleted. They are unreadable.",
    "Fields that are no match key, such as IP Address and custom data.",
)


@dataclass(frozen=True, slots=True)
class RequestedErasure:
    """An erasure, as it was requested."""

    id: str
    status: Literal["under_way"]
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class ErasureCounts:
    """The numbers of erased events, by their previous status."""

    waiting: int
    dead: int
    delivered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureReceipt:
    """The signed receipt of an erasure. The text in `signed` repeats the members that precede it."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    id: str
    status: Literal["under_way", "finished", "unreadable"]
    """`unreadable`: the stored identifiers are damaged; request the erasure again."""
    requested_at: datetime
    finished_at: datetime | None
    requested_by: str
    identifiers: Sequence[str]
    batches_scanned: int
    unreadable_batches: int
    """The number of damaged batches. They were not searched."""
    erased: ErasureCounts
    kept_elsewhere: Sequence[str]
    signed: str
    """The signed text: the members above, as JSON."""
    signature: str
    """Ed25519, base64."""
    public_key: str
    """Ed25519, base64; unique to this installation."""


IDENTIFIERS = (*IDENTIFYING_FIELDS, HASH)
"""The kinds of identifiers of a person. `hash` is the SHA-256, in hex, of an identifier of another kind."""


def values_of(identifiers: Mapping[str, str]) -> frozenset[str]:
    """Return every match key that the person can have. Raises Refusal (422) if an identifier has none."""
    keys = erasure_keys(identifiers)
    if unusable := sorted(name for name, values in keys.items() if not values):
        raise Refusal(ErrorCode.INVALID, None, *(FieldProblem(name, "invalid") for name in unusable))
    return frozenset().union(*keys.values())


async def erase_person(context: AppContext, identifiers: Mapping[str, str]) -> RequestedErasure:
    """Commit the erasure of a person in the caller's organisation. Raises Refusal (403, 422).

    After the commit, no event with any of these values is sent, and workers erase the stored events. The
    function returns when earlier requests to Amazon have ended. The audit records the kinds of the
    identifiers, but not their values.
    """
    require_unlimited(context.caller)
    id_, kinds = f"era_{secrets.token_hex(10)}", sorted(identifiers)
    values = sorted(await asyncio.to_thread(values_of, identifiers))
    sealed = context.vault.seal(msgspec.json.encode(values), place=erasure_place(id_))
    async with context.transaction() as change:
        await change.record(AuditAction.SUBJECT_ERASURE_REQUESTED, id_, after={"identifiers": kinds})
        # The erasure comes last, because flushes wait for its commit.
        at = await erasures.create(change.driver, id_, by=change.by, kinds=kinds, sealed=sealed)
    async with context.pool.acquire() as connection:
        newest = await erasures.newest_attempt(connection)
    under_way = partial(erasures.under_way, newest=newest, younger_than=SETTLED_WITHIN)
    await until_settled(context.pool, context.monotonic, under_way)
    return RequestedErasure(id_, "under_way", at)


async def find_receipt(context: AppContext, erasure: str) -> ErasureReceipt:
    """Return the signed receipt of an erasure, finished or not, of the caller's organisation.

    Raises Refusal (403, 404).
    """
    require_unlimited(context.caller)
    async with context.pool.acquire() as connection:
        found = require_found(await erasures.find(connection, erasure))
    members: dict[str, Any] = {
        "id": found.id,
        "status": _status(context.vault, found),
        "requested_at": found.requested_at,
        "finished_at": found.finished_at,
        "requested_by": found.requested_by,
        "identifiers": found.kinds,
        "batches_scanned": found.scanned,
        # Damaged batches cannot be searched. See docs/repair.md.
        "unreadable_batches": found.unreadable,
        "erased": ErasureCounts(found.waiting, found.dead, found.delivered),
        "kept_elsewhere": STORED_ELSEWHERE,
    }
    signed = msgspec.json.encode(members, order="sorted")
    key = await _key(context)
    return ErasureReceipt(
        **members,
        signed=signed.decode(),
        signature=_text(key.sign(signed)),
        public_key=_text(key.public_key().public_bytes_raw()),
    )


async def list_erasures(context: AppContext, *, limit: int, below: int | None) -> list[erasures.Erasure]:
    """Return up to `limit` erasures of the caller's organisation, newest first. Raises Refusal (403)."""
    require_unlimited(context.caller)
    async with context.pool.acquire() as connection:
        return await erasures.newest(connection, limit=limit, below=below)


@dataclass(slots=True)
class SubjectSearch:
    """The results of a search. The keys of `events` are destination and status.

    `cursor` is the id of the last batch that was searched. It is None if every batch was searched.
    """

    events: Counter[tuple[str, StoredStatus]] = field(default_factory=Counter)
    batches: int = 0
    unreadable: int = 0
    cursor: int | None = None


async def find_person(
    context: AppContext, identifiers: Mapping[str, str], *, after: int
) -> tuple[str, SubjectSearch]:
    """Search the batches with ids above `after` for a person, for some seconds. Raises Refusal (403, 422).

    Return the id of the search and its results, with the cursor None if no batch is left to search. The
    audit records the search and the kinds of identifiers, but not their values.
    """
    require_unlimited(context.caller)
    values = await asyncio.to_thread(values_of, identifiers)
    id_ = new_id("sub_")
    async with context.transaction() as change:
        await change.record(AuditAction.SUBJECT_SEARCHED, id_, after={"identifiers": sorted(identifiers)})
    result, until = SubjectSearch(), context.monotonic() + _SECONDS
    async with context.pool.acquire() as connection:
        last = await newest_batch(connection)
        while page := await erasures.next_batches(connection, after=after, last=last, limit=_BATCHES):
            after = page.to
            batches = await erasures.readable(connection, page.batches)
            result.batches += len(batches)
            result.unreadable += page.unreadable
            await asyncio.to_thread(_count, context.vault, batches, values, result)
            if context.monotonic() >= until:
                result.cursor = after
                break
    return id_, result


def require_unlimited(caller: Caller) -> None:
    """Raise Refusal (403) for a key that is limited to destinations, because an erasure covers all."""
    if caller.destination_ids is not None:
        raise Refusal(
            ErrorCode.FORBIDDEN, "This key is limited to its destinations; a person is erased from all."
        )


def _status(vault: Vault, found: erasures.Erasure) -> str:
    """Return the status of an erasure: 'unreadable' if the stored identifiers of the person are damaged."""
    if found.finished_at or found.sealed is None:
        return "finished"
    try:
        vault.open(found.sealed, place=erasure_place(found.id))
    except CannotDecrypt:
        return "unreadable"
    return "under_way"


async def _key(context: AppContext) -> Ed25519PrivateKey:
    """Return the key that signs receipts. Create it on first use, and store it encrypted."""
    fresh = Ed25519PrivateKey.generate().private_bytes_raw()
    async with context.pool.acquire() as connection, connection.transaction():
        stored = await keep_secret(connection, context.vault, _SECRET, fresh)
    return Ed25519PrivateKey.from_private_bytes(stored)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _count(
    vault: Vault, batches: Sequence[erasures.ReadableBatch], values: frozenset[str], result: SubjectSearch
) -> None:
    for batch in batches:
        bodies = open_batch(batch.id, batch.data_key, batch.content, vault)
        if bodies is None:
            result.unreadable += 1
            continue
        for place, body in bodies.items():
            if carried_key(body, values) is not None:
                status = _STATUSES.get(batch.exceptions.get(place, batch.disposition), "waiting")
                result.events[batch.destination or "", status] += 1
