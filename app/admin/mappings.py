"""Use cases of mappings: create, change, archive, publish. Each writes an audit row.

They run in the caller's transaction. After a `Refusal` the caller must roll back.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import publishing
from app.admin.mapping_schema import name_problem
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.ids import DestinationId, MappingId
from app.domain.mapping.document import check_draft
from app.domain.mapping.event_name import with_clean_event_name
from app.store import audit, destinations, mappings
from app.store.destinations import Destination
from app.store.mappings import Document, StoredMapping


def valid_draft(draft: Document) -> Document:
    """Return the draft with a normalised event name if its members are valid; it may be incomplete.

    Raises Refusal (422).
    """
    name_code = name_problem(draft.get("name"))
    problems = check_draft(dict(draft))
    if name_code is not None and not any(problem.path == "name" for problem in problems):
        raise Refusal(
            ErrorCode.INVALID,
            "A mapping needs a name of printable characters.",
            FieldProblem("name", name_code),
        )
    if problems:
        raise publishing.refusal_of_document(ErrorCode.INVALID, problems)
    return with_clean_event_name(draft)


async def create_mapping(
    connection: AsyncConnection, destination: DestinationId, mapping: MappingId, draft: Document, *, by: str
) -> None:
    """Create an unpublished mapping under a new id."""
    await mappings.create(connection, mapping, destination, draft)
    await record_mapping_audit(
        connection, by, audit.AuditAction.MAPPING_CREATED, destination, mapping, before=None, after=draft
    )


async def change_mapping(
    connection: AsyncConnection, before: StoredMapping, draft: Document, *, by: str
) -> None:
    """Replace a mapping's draft. The published version is unchanged."""
    if draft == before.draft:
        return
    await mappings.change_draft(connection, before.id, draft)
    await record_mapping_audit(
        connection,
        by,
        audit.AuditAction.MAPPING_CHANGED,
        before.destination,
        before.id,
        before=before.draft,
        after=draft,
    )


async def archive_mapping(connection: AsyncConnection, before: StoredMapping, *, by: str) -> None:
    """Archive a mapping. It accepts no more events; events accepted before are still delivered."""
    await mappings.archive(connection, before.id)
    await destinations.count_published(connection, before.destination)
    await record_mapping_audit(
        connection,
        by,
        audit.AuditAction.MAPPING_ARCHIVED,
        before.destination,
        before.id,
        before=before.draft,
        after=None,
    )


async def publish_mapping(
    connection: AsyncConnection,
    destination: Destination,
    before: StoredMapping,
    *,
    by: str,
    note: str | None = None,
) -> int:
    """Publish the draft and return its version. Raises Refusal as `publishing.publish` does."""
    version = await publishing.publish(connection, destination, before, by, note)
    if version != before.published_version:
        await record_mapping_audit(
            connection,
            by,
            audit.AuditAction.MAPPING_PUBLISHED,
            destination.id,
            before.id,
            before=published_document(before),
            # A note is free text: the audit records that there is one.
            after={**before.draft, "published_version": version, **({"has_note": True} if note else {})},
        )
    return version


def published_document(mapping: StoredMapping) -> Document | None:
    """Return the published document with its version number, for the audit."""
    if mapping.published is None:
        return None
    return {**mapping.published, "published_version": mapping.published_version}


async def record_mapping_audit(
    connection: AsyncConnection,
    actor: str,
    action: audit.AuditAction,
    destination: str,
    mapping: str,
    *,
    before: Document | None,
    after: Document | None,
) -> None:
    """Record a change of a mapping in the audit."""
    await audit.record(
        connection,
        actor=actor,
        action=action,
        subject=mapping,
        destination=destination,
        before=before,
        after=after,
    )
