"""What differs between a file and what is there, told as the acts that would make it agree. Pure.

The file speaks of what is published: a draft that somebody edits meanwhile is nobody's drift, and stays.
What the file does not name is left alone, since a line that got lost must not stop events.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.admin.destinations import draft_of
from app.config_as_code.read import DesiredMapping, DesiredState, FileProblem, UnreadableFile
from app.domain.destination import Region, State
from app.domain.ids import AdvertiserId
from app.domain.mapping.diff import Difference, differences
from app.domain.mapping.document import ACTION
from app.domain.mapping.event_name import with_clean_event_name
from app.store.destinations import ConfiguredRate, Destination, DestinationDraft
from app.store.mappings import Document, StoredMapping


class PlannedAction(StrEnum):
    """What is done to a destination or a mapping."""

    MAKE = "make"
    CHANGE = "change"
    ARCHIVE = "archive"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class MappingStep:
    """What becomes of one mapping; `wanted` is None for one that is archived or left alone."""

    action: PlannedAction
    wanted: DesiredMapping | None
    document: Document
    found: StoredMapping | None
    changes: tuple[Difference, ...] = ()

    @property
    def name(self) -> str:
        """Return what people call the mapping."""
        return self.wanted.name if self.wanted else self.found.name if self.found else ""


@dataclass(frozen=True, slots=True)
class DestinationStep:
    """What becomes of one destination and its mappings."""

    action: PlannedAction
    wanted: DesiredState
    draft: DestinationDraft
    found: Destination | None
    changes: tuple[Difference, ...]
    mappings: tuple[MappingStep, ...]

    @property
    def actions(self) -> list[PlannedAction]:
        """Return what is done to the destination, then to its mappings."""
        return [self.action, *[one.action for one in self.mappings]]

    @property
    def touched(self) -> bool:
        """Return whether anything is done to the destination or one of its mappings."""
        return any(action is not PlannedAction.NOTHING for action in self.actions)


@dataclass(frozen=True, slots=True)
class Plan:
    """Every step, in the order of the file, and the destinations that the file does not name."""

    steps: tuple[DestinationStep, ...]
    left: tuple[Destination, ...]

    @property
    def actions(self) -> list[PlannedAction]:
        """Return what would be done, nothing left out but what stays as it is."""
        every = [action for step in self.steps for action in step.actions]
        return [action for action in every if action is not PlannedAction.NOTHING]


@dataclass(frozen=True, slots=True)
class ExistingConfiguration:
    """Everything that is there, archived things too."""

    destinations: Sequence[Destination]
    mappings: Sequence[StoredMapping]


def plan(
    wanted: Sequence[DesiredState], known: ExistingConfiguration, *, prune: bool = False
) -> Plan | UnreadableFile:
    """Match the file's things with what is there, by id or else by name, and say what differs.

    With `prune`, mappings of a named destination that the file lacks are archived. Destinations never are:
    events may wait there, and deleting them is an act of its own.
    """
    wrong: list[FileProblem] = []
    steps = []
    for one in wanted:
        found = _destination(one, known, wrong)
        steps.append(_step(one, found, known, wrong, prune=prune))
    _refuse_twice(
        [
            _NamedItems(
                one.at, step.found.id if step.found else None, one.destination.id, one.destination.name
            )
            for one, step in zip(wanted, steps, strict=True)
        ],
        wrong,
    )
    named = {step.found.id for step in steps if step.found}
    left = [one for one in known.destinations if one.state is not State.ARCHIVED and one.id not in named]
    return UnreadableFile(tuple(wrong)) if wrong else Plan(tuple(steps), tuple(left))


def _destination(
    wanted: DesiredState, known: ExistingConfiguration, wrong: list[FileProblem]
) -> Destination | None:
    said = wanted.destination
    if said.id is not None:
        found = next((one for one in known.destinations if one.id == said.id), None)
        if found is not None and found.state is State.ARCHIVED:
            wrong.append(FileProblem(f"{wanted.at}.id", "This destination was deleted; leave the id out."))
        return found
    alike = [one for one in known.destinations if one.name == said.name and one.state is not State.ARCHIVED]
    if len(alike) > 1:
        ids = ", ".join(one.id for one in alike)
        wrong.append(
            FileProblem(f"{wanted.at}.name", f"Several destinations have this name; give one's id: {ids}.")
        )
    return alike[0] if alike else None


def _draft(wanted: DesiredState) -> DestinationDraft:
    said, rate = wanted.destination, wanted.destination.rate_limit
    return DestinationDraft(
        name=said.name,
        advertiser_id=AdvertiserId(said.advertiser_id),
        region=Region(said.region),
        currency=said.currency,
        identity_profile=said.identity_profile,
        dataset_name=said.dataset_name,
        rate=ConfiguredRate() if rate is None else ConfiguredRate(rate.requests_per_second, rate.burst),
    )


def _step(
    wanted: DesiredState,
    found: Destination | None,
    known: ExistingConfiguration,
    wrong: list[FileProblem],
    *,
    prune: bool,
) -> DestinationStep:
    draft = _draft(wanted)
    changes = () if found is None else tuple(differences(_said(draft_of(found)), _said(draft)))
    told = wanted.destination.status_callback
    if found is not None and told is not None and told != found.status_callback:
        changes += (Difference("status_callback", found.status_callback, told),)
    action = (
        PlannedAction.MAKE if found is None else PlannedAction.CHANGE if changes else PlannedAction.NOTHING
    )
    theirs = [one for one in known.mappings if found and one.destination == found.id]
    steps = [_mapping_step(one, theirs, known, wrong) for one in wanted.mappings]
    _refuse_twice(
        [
            _NamedItems(one.at, step.found.id if step.found else None, one.id, one.name)
            for one, step in _paired(wanted, steps)
        ],
        wrong,
    )
    named = {step.found.id for step in steps if step.found}
    steps += [
        MappingStep(PlannedAction.ARCHIVE if prune else PlannedAction.NOTHING, None, one.draft, one)
        for one in theirs
        if one.archived_at is None and one.id not in named
    ]
    return DestinationStep(action, wanted, draft, found, changes, tuple(steps))


def _paired(wanted: DesiredState, steps: list[MappingStep]) -> Iterable[tuple[DesiredMapping, MappingStep]]:
    return zip(wanted.mappings, steps, strict=True)


def _said(draft: DestinationDraft) -> dict[str, object]:
    return {
        "name": draft.name,
        "advertiser_id": draft.advertiser_id,
        "region": draft.region.value,
        "currency": draft.currency,
        "identity_profile": draft.identity_profile,
        "dataset_name": draft.dataset_name,
        "rate_limit": {
            "requests_per_second": draft.rate.requests_per_second,
            "burst": draft.rate.burst,
        },
    }


def _mapping_step(
    wanted: DesiredMapping,
    theirs: Sequence[StoredMapping],
    known: ExistingConfiguration,
    wrong: list[FileProblem],
) -> MappingStep:
    members = {name: member for name, member in wanted.document.items() if member is not None}
    document = {"action": ACTION, **with_clean_event_name(members)}
    found = _mapping(wanted, theirs, known, wrong)
    if found is None:
        return MappingStep(PlannedAction.MAKE, wanted, document, None)
    # A mapping that the file wants published is compared with what events use, any other with its draft.
    before = found.published if wanted.published else found.draft
    if not wanted.published and found.published_version is not None:
        sentence = "It is published. What was published cannot become a draft again; delete it instead."
        wrong.append(FileProblem(f"{wanted.at}.published", sentence))
    if before == document:
        return MappingStep(PlannedAction.NOTHING, wanted, document, found)
    changes = tuple(differences(before if before is not None else found.draft, document))
    return MappingStep(PlannedAction.CHANGE, wanted, document, found, changes)


def _mapping(
    wanted: DesiredMapping,
    theirs: Sequence[StoredMapping],
    known: ExistingConfiguration,
    wrong: list[FileProblem],
) -> StoredMapping | None:
    if wanted.id is not None:
        found = next((one for one in known.mappings if one.id == wanted.id), None)
        if found is not None and found not in theirs:
            wrong.append(FileProblem(f"{wanted.at}.id", "This mapping belongs to another destination."))
        elif found is not None and found.archived_at is not None:
            wrong.append(FileProblem(f"{wanted.at}.id", "This mapping was deleted; leave the id out."))
        return found
    alike = [one for one in theirs if one.name == wanted.name and one.archived_at is None]
    if len(alike) > 1:
        ids = ", ".join(one.id for one in alike)
        wrong.append(
            FileProblem(f"{wanted.at}.name", f"Several mappings have this name; give one's id: {ids}.")
        )
    return alike[0] if alike else None


@dataclass(frozen=True, slots=True)
class _NamedItems:
    """A thing of the file: what it is there already, and what the file calls it."""

    at: str
    found: str | None
    id: str | None
    name: str

    def is_again(self, other: "_NamedItems") -> bool:
        """Tell whether both are one thing, or could be: two may share a name when each has its id."""
        mine, theirs = self.found or self.id, other.found or other.id
        if mine is not None and mine == theirs:
            return True
        return self.name == other.name and (self.id is None or other.id is None)


def _refuse_twice(things: Sequence[_NamedItems], wrong: list[FileProblem]) -> None:
    """Refuse a thing that the file names twice, by its id or by its name."""
    # By id and by name, so that a file of ten thousand is not compared pair by pair.
    seen: dict[str, list[_NamedItems]] = {}
    for one in things:
        keys = [f"name {one.name}", *filter(None, {one.found or one.id})]
        same = next((other for key in keys for other in seen.get(key, ()) if one.is_again(other)), None)
        if same is not None:
            wrong.append(FileProblem(one.at, f"This is {same.at} again; give each another name, or an id."))
        for key in keys:
            seen.setdefault(key, []).append(one)
