"""Callers, their keys, and what the keys permit."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.domain.ids import DEFAULT_ORGANISATION, KeyId, OrganisationId


class Scope(StrEnum):
    """A permission that an API key can have."""

    EVENTS_WRITE = "events:write"
    EVENTS_READ = "events:read"
    DESTINATIONS_READ = "destinations:read"
    DESTINATIONS_WRITE = "destinations:write"
    REPLAY = "replay"
    ERASE = "erase"
    KEYS_ADMIN = "keys:admin"
    ORGANISATIONS_ADMIN = "organisations:admin"

    __hash__ = str.__hash__  # faster than the hash of Enum, and used by every request


BOOTSTRAP: Final = KeyId("bootstrap")


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, an API key or a person, with its permissions.

    `destination_ids` is None for a caller that may use every destination. `organisation` is the organisation
    that the caller acts for.
    """

    key: KeyId
    scopes: frozenset[str]
    destination_ids: frozenset[str] | None = None
    organisation: OrganisationId = DEFAULT_ORGANISATION
    person: str | None = None  # the display name of a person

    def may(self, *any_of: Scope) -> bool:
        """Return whether the caller has at least one of these scopes."""
        return not self.scopes.isdisjoint(any_of)

    def sees(self, destination: str) -> bool:
        """Return whether the caller can see this destination."""
        return self.destination_ids is None or destination in self.destination_ids

    @property
    def is_platform(self) -> bool:
        """Return whether the caller may act for any organisation."""
        return Scope.ORGANISATIONS_ADMIN in self.scopes

    @property
    def only(self) -> list[str] | None:
        """Return the sorted ids of the destinations that the caller may use; None for every destination."""
        return None if self.destination_ids is None else sorted(self.destination_ids)

    @property
    def actor(self) -> str:
        """Return the name of the caller in the audit: the id of a key, or the name and the id of a person."""
        return self.key if self.person is None else f"{self.person} ({self.key})"


NO_CALLER: Final = Caller(KeyId(""), frozenset(), frozenset(), OrganisationId(""))
"""The caller of a public route. It may do nothing and sees no destination."""
