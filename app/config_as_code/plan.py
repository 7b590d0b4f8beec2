"""Compare a configuration file with the stored configuration and plan the changes.

A mapping of the file is compared with its published version, so an unpublished draft does not count. Stored
entries that the file does not contain stay unchanged, so that a deleted line cannot stop events.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from app.admin.destination_settings import draft_from
from app.admin.destinations import draft_of
from app.config_as_code.read import DesiredMapping, DesiredState, FileProblem, InvalidFile
from app.domain.destination import State
from app.domain.mapping.diff import Difference, differences
from app.domain.mapping.document import ACTION
from app.domain.mapping.event_name import with_clean_event_name
from app.store.destinations import Destination, DestinationDraft
from app.store.mappings import Document, StoredMapping


class PlannedAction(StrEnum):
    """The change to a destination or a mapping."""

    CREATE = "create"
    CHANGE = "change"
    ARCHIVE = "archive"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class MappingStep:
    """The change to one mapping. `desired` is None if the file does not contain it."""

    action: PlannedAction
    desired: DesiredMapping | None
    document: Document
    existing: StoredMapping | None
    changes: tuple[Difference, ...] = ()

    @property
    def name(self) -> str:
        """Return the name of the mapping."""
        return self.desired.name if self.desired else self.existing.name if self.existing else ""


@dataclass(frozen=True, slots=True)
class DestinationStep:
    """The changes to one destination and its mappings."""

    action: PlannedAction
    desired: DesiredState
    draft: DestinationDraft
    existing: Destination | None
    changes: tuple[Difference, ...]
    mappings: tuple[MappingStep, ...]

    @property
    def actions(self) -> list[PlannedAction]:
        """Return the action for the destination, followed by the actions for its mappings."""
        return [self.action, *[mapping.action for mapping in self.mappings]]

    @property
    def changed(self) -> bool:
        """Return whether the destination or one of its mappings changes."""
        return any(action is not PlannedAction.NOTHING for action in self.actions)


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in the order of the file, and the stored destinations that the file does not contain."""

    steps: tuple[DestinationStep, ...]
    unmanaged: tuple[Destination, ...]

    @property
    def actions(self) -> list[PlannedAction]:
        """Return every action except NOTHING."""
        actions = [action for step in self.steps for action in step.actions]
        return [action for action in actions if action is not PlannedAction.NOTHING]


@dataclass(frozen=True, slots=True)
class ExistingConfiguration:
    """All stored destinations and mappings, including archived ones."""

    destinations: Sequence[Destination]
    mappings: Sequence[StoredMapping]


def plan(
    desired: Sequence[DesiredState], configuration: ExistingConfiguration, *, prune: bool = False
) -> Plan | InvalidFile:
    """Match each entry of the file with a stored entry, by id or else by name. Return the changes.

    With `prune`, a mapping that the file does not contain is archived if the file contains its destination.
    Destinations are never archived, because they may have waiting events.
    """
    problems: list[FileProblem] = []
    steps = []
    for entry in desired:
        existing = _destination(entry, configuration, problems)
        steps.append(_step(entry, existing, configuration, problems, prune=prune))
    _refuse_duplicates(
        [
            _FileEntry(
                entry.path,
                step.existing.id if step.existing else None,
                entry.destination.id,
                entry.destination.name,
            )
            for entry, step in zip(desired, steps, strict=True)
        ],
        problems,
    )
    named = {step.existing.id for step in steps if step.existing}
    unmanaged = [
        destination
        for destination in configuration.destinations
        if destination.state is not State.ARCHIVED and destination.id not in named
    ]
    return InvalidFile(tuple(problems)) if problems else Plan(tuple(steps), tuple(unmanaged))


def _destination(
    desired: DesiredState, configuration: ExistingConfiguration, problems: list[FileProblem]
) -> Destination | None:
    declared = desired.destination
    if declared.id is not None:
        existing = next((each for each in configuration.destinations if each.id == declared.id), None)
        if existing is not None and existing.state is State.ARCHIVED:
            problems.append(FileProblem(f"{desired.path}.id", "This destination was deleted. Remove the id."))
        return existing
    same_name = [
        each
        for each in configuration.destinations
        if each.name == declared.name and each.state is not State.ARCHIVED
    ]
    if len(same_name) > 1:
        ids = ", ".join(each.id for each in same_name)
        problems.append(
            FileProblem(f"{desired.path}.name", f"Several destinations have this name. Add the id: {ids}.")
        )
    return same_name[0] if same_name else None


def _step(
    desired: DesiredState,
    existing: Destination | None,
    configuration: ExistingConfiguration,
    problems: list[FileProblem],
    *,
    prune: bool,
) -> DestinationStep:
    draft = draft_from(desired.destination)
    changes = () if existing is None else tuple(differences(_members(draft_of(existing)), _members(draft)))
    enabled = desired.destination.status_callback
    if existing is not None and enabled is not None and enabled != existing.status_callback:
        changes += (Difference("status_callback", existing.status_callback, enabled),)
    action = (
        PlannedAction.CREATE
        if existing is None
        else PlannedAction.CHANGE
        if changes
        else PlannedAction.NOTHING
    )
    siblings = [each for each in configuration.mappings if existing and each.destination == existing.id]
    steps = [_mapping_step(entry, siblings, configuration, problems) for entry in desired.mappings]
    _refuse_duplicates(
        [
            _FileEntry(entry.path, step.existing.id if step.existing else None, entry.id, entry.name)
            for entry, step in zip(desired.mappings, steps, strict=True)
        ],
        problems,
    )
    named = {step.existing.id for step in steps if step.existing}
    steps += [
        MappingStep(PlannedAction.ARCHIVE if prune else PlannedAction.NOTHING, None, each.draft, each)
        for each in siblings
        if each.archived_at is None and each.id not in named
    ]
    return DestinationStep(action, desired, draft, existing, changes, tuple(steps))


def _members(draft: DestinationDraft) -> dict[str, object]:
    members = asdict(draft)
    rate_limit = members.pop("rate")
    return {**members, "region": draft.region.value, "rate_limit": rate_limit}


def _mapping_step(
    desired: DesiredMapping,
    siblings: Sequence[StoredMapping],
    configuration: ExistingConfiguration,
    problems: list[FileProblem],
) -> MappingStep:
    members = {name: member for name, member in desired.document.items() if member is not None}
    document = {"action": ACTION, **with_clean_event_name(members)}
    existing = _mapping(desired, siblings, configuration, problems)
    if existing is None:
        return MappingStep(PlannedAction.CREATE, desired, document, None)
    # If the file does not publish a mapping, compare the mapping with the stored draft.
    before = existing.published if desired.published else existing.draft
    if not desired.published and existing.published_version is not None:
        sentence = "A published mapping cannot become a draft again. Delete it instead."
        problems.append(FileProblem(f"{desired.path}.published", sentence))
    if before == document:
        return MappingStep(PlannedAction.NOTHING, desired, document, existing)
    changes = tuple(differences(before if before is not None else existing.draft, document))
    return MappingStep(PlannedAction.CHANGE, desired, document, existing, changes)


def _mapping(
    desired: DesiredMapping,
    siblings: Sequence[StoredMapping],
    configuration: ExistingConfiguration,
    problems: list[FileProblem],
) -> StoredMapping | None:
    if desired.id is not None:
        existing = next((each for each in configuration.mappings if each.id == desired.id), None)
        if existing is not None and existing not in siblings:
            problems.append(FileProblem(f"{desired.path}.id", "This mapping belongs to another destination."))
        elif existing is not None and existing.archived_at is not None:
            problems.append(FileProblem(f"{desired.path}.id", "This mapping was deleted. Remove the id."))
        return existing
    same_name = [each for each in siblings if each.name == desired.name and each.archived_at is None]
    if len(same_name) > 1:
        ids = ", ".join(each.id for each in same_name)
        problems.append(
            FileProblem(f"{desired.path}.name", f"Several mappings have this name. Add the id: {ids}.")
        )
    return same_name[0] if same_name else None


@dataclass(frozen=True, slots=True)
class _FileEntry:
    """An entry of the file: its path, the id of the stored entry that it matches, its own id and its name."""

    path: str
    existing: str | None
    id: str | None
    name: str

    def duplicates(self, other: "_FileEntry") -> bool:
        """Return whether two entries describe the same thing: they have the same id, or they have the same
        name and at most one of them has an id.
        """
        own_id, other_id = self.existing or self.id, other.existing or other.id
        if own_id is not None and own_id == other_id:
            return True
        return self.name == other.name and (self.id is None or other.id is None)


def _refuse_duplicates(entries: Sequence[_FileEntry], problems: list[FileProblem]) -> None:
    """Add a problem for each entry that repeats the id or the name of an earlier entry."""
    # The index avoids comparing 10,000 entries with each other.
    index: dict[str, list[_FileEntry]] = {}
    for entry in entries:
        keys = [f"name {entry.name}", *filter(None, {entry.existing or entry.id})]
        first = next((other for key in keys for other in index.get(key, ()) if entry.duplicates(other)), None)
        if first is not None:
            problems.append(
                FileProblem(entry.path, f"It repeats {first.path}. Give each its own name or id.")
            )
        for key in keys:
            index.setdefault(key, []).append(entry)
