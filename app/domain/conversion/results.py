"""What a conversion needs and gives: the rules of a destination, the finished event, warnings and steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

import msgspec

from app.domain.conversion.consent import ConsentSettings
from app.domain.destination import DestinationSettings, Region
from app.domain.identity.keys import Profile
from app.domain.mapping.reading import SourceFailed
from app.domain.mapping.sources import Source


@dataclass(frozen=True, slots=True)
class DeploymentRules:
    """What a conversion needs to know about the deployment: the limits of an event's age, and consent."""

    max_age: timedelta = timedelta(days=21)  # P6
    warn_age: timedelta = timedelta(days=7)  # P6
    consent: ConsentSettings = field(default_factory=ConsentSettings)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a conversion needs to know about the destination, the mapping's version and the deployment.

    `pins` maps an event type to the only event name that this advertiser may send with it (R12). Event types
    without a pin accept any name.
    """

    destination_id: str
    mapping_id: str
    mapping_version: int
    region: Region
    profile: Profile
    currency: str
    dataset_name: str | None
    pins: Mapping[str, str]
    deployment: DeploymentRules = field(default_factory=DeploymentRules)

    @classmethod
    def of(cls, settings: DestinationSettings, **members: Any) -> Self:
        """Return the rules of a destination; `members` are those that are not settings."""
        return cls(
            region=settings.region,
            profile=Profile(settings.identity_profile),
            currency=settings.currency,
            dataset_name=settings.dataset_name,
            **members,
        )


@dataclass(frozen=True, slots=True)
class EventWarning:
    """A warning about an accepted event: a key of `WARNINGS`, and the path in the event."""

    code: str
    field: str | None


class Conversion(msgspec.Struct, frozen=True, gc=False):
    """The finished Amazon event, and what is known about it. `body` is its JSON, sent to Amazon unchanged."""

    event_id: str
    amazon_event_id: str
    event_type: str
    event_name: str
    event_at: datetime
    body: bytes
    match_keys: tuple[str, ...] = ()  # Amazon's types of the match keys in the body, in the same order
    warnings: tuple[EventWarning, ...] = ()
    dropped_keys: tuple[tuple[str, str], ...] = ()  # (Amazon's match key type, reason) of dropped match keys
    consent: str | None = None  # the result of `consent.evidence`
    event_source: str | None = None  # if the mapping reads it from the event

    def __repr__(self) -> str:
        return f"Conversion(event_id={self.event_id!r}, event_type={self.event_type!r})"


HIDDEN: Final = "…"
"""The result of a step whose value a preview must not show."""


class Step(NamedTuple):
    """What a field became in a conversion, for previews. It contains no value of a match key.

    `rule` names how the result was found, or is `absent`, `dropped` or `omitted`. `rejects` means that
    `failed` rejects the event, as `sentence` says. `warnings` are the warnings of this field. `hidden` is
    equal for equal values that `result` hides, in one process: it shows nothing of them.
    """

    field: str
    source: Source | None
    rule: str
    result: Any = None
    failed: SourceFailed | None = None
    rejects: bool = False
    sentence: str = ""
    warnings: tuple[str, ...] = ()
    hidden: int | None = None


Trace = list[Step]
