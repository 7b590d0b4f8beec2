"""Callers and what their keys permit."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.domain.ids import DEFAULT_ORGANISATION, KeyId, OrganisationId


class Scope(StrEnum):
    """What a key may do (interface §5)."""

    EVENTS_WRITE = "events:write"
    EVENTS_READ = "events:read"
    DESTINATIONS_READ = "destinations:read"
    DESTINATIONS_WRITE = "destinations:write"
    REPLAY = "replay"
    ERASE = "erase"
    KEYS_ADMIN = "keys:admin"
    ORGANISATIONS_ADMIN = "organisations:admin"

    __hash__ = str.__hash__  # Enum's own hash is written in Python, and every request uses it


BOOTSTRAP: Final = KeyId("bootstrap")


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a valid key. `destination_ids` is None when the key is not limited to destinations.

    `organisation` is the one that the caller acts for.
    """

    key: KeyId
    scopes: frozenset[str]
    destination_ids: frozenset[str] | None = None
    organisation: OrganisationId = DEFAULT_ORGANISATION
    person: str | None = None  # the display name of a person

    def may(self, *any_of: Scope) -> bool:
        """Return whether the key has at least one of these scopes."""
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
        """Return the destinations that the caller is limited to, sorted for the store, or None for all."""
        return None if self.destination_ids is None else sorted(self.destination_ids)

    @property
    def actor(self) -> str:
        """Return the caller's name in the audit: a key's id, or a person's name and id."""
        return self.key if self.person is None else f"{self.person} ({self.key})"
