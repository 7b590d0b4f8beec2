"""Use cases of mappings: create, change, archive, publish, each with its audit row.

They run inside the caller's transaction and raise `Refusal` for what is not allowed; nothing of that
transaction may then be committed.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import publishing
from app.admin.mapping_schema import name_problem
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.ids import DestinationId, MappingId
from app.domain.mapping.document import check_draft
from app.store import audit, destinations, mappings
from app.store.destinations import Destination
from app.store.mappings import Document, StoredMapping


def valid_draft(draft: Document) -> Document:
    """Return a draft that says nothing wrong, whatever it does not say yet. Raises Refusal (422)."""
    word = name_problem(draft.get("name"))
    wrong = check_draft(dict(draft))
    if word is not None and not any(problem.path == "name" for problem in wrong):
        raise Refusal(
            ErrorCode.INVALID, "A mapping needs a name of printable characters.", FieldProblem("name", word)
        )
    if wrong:
        raise publishing.refusal_of_document(ErrorCode.INVALID, wrong)
    return draft


async def create_mapping(
    connection: AsyncConnection, destination: DestinationId, mapping: MappingId, draft: Document, *, by: str
) -> None:
    """Make a mapping under an id that nothing has yet; nothing of it is published."""
    await mappings.create(connection, mapping, destination, draft)
    await record_mapping_audit(
        connection, by, audit.AuditAction.MAPPING_CREATED, destination, mapping, before=None, after=draft
    )


async def change_mapping(
    connection: AsyncConnection, before: StoredMapping, draft: Document, *, by: str
) -> None:
    """Let a mapping's draft be this one. What is published stays."""
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
    """Let a mapping take no more events; those accepted with it are delivered all the same."""
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
    connection: AsyncConnection, destination: Destination, before: StoredMapping, *, by: str
) -> int:
    """Let events use the draft from now on, and return its version. Raises Refusal as `publish` does."""
    version = await publishing.publish(connection, destination, before, by)
    if version != before.published_version:
        await record_mapping_audit(
            connection,
            by,
            audit.AuditAction.MAPPING_PUBLISHED,
            destination.id,
            before.id,
            before=published_document(before),
            after={**before.draft, "published_version": version},
        )
    return version


def published_document(mapping: StoredMapping) -> Document | None:
    """Return what events use of a mapping, with its version, as the audit keeps it."""
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
    """Write the audit's row of an act on a mapping."""
    await audit.record(
        connection,
        actor=actor,
        action=action,
        subject=mapping,
        destination=destination,
        before=before,
        after=after,
    )
