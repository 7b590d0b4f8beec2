"""The main navigation. It has the pages that a visitor may open, and says what each locked page needs.

Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.admin import Scope
from app.admin.access.people import roles_with
from app.console.access.sessions import Visitor


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """A page of the navigation. If the visitor may not open it, `needs` says what is needed."""

    address: str
    label: str
    is_current: bool
    needs: str = ""


_ANY: Final = tuple(Scope)
# The address, label and scopes of each page. A visitor needs one of the scopes. The first line is always
# visible.
MAIN: Final[Sequence[tuple[str, str, tuple[Scope, ...]]]] = (
    ("/console", "Destinations", (Scope.DESTINATIONS_READ,)),
    ("/console/events", "Events", (Scope.EVENTS_READ,)),
    ("/console/incidents", "Incidents", (Scope.DESTINATIONS_READ,)),
    ("/console/privacy", "Privacy", (Scope.ERASE,)),
    ("/console/audit", "Audit", (Scope.KEYS_ADMIN,)),
    ("/console/settings", "Settings", _ANY),
)
MORE: Final[Sequence[tuple[str, str, tuple[Scope, ...]]]] = (
    ("/console/event-names", "Event names", (Scope.DESTINATIONS_READ,)),
    ("/console/notifications", "Notifications", (Scope.DESTINATIONS_READ,)),
    ("/console/system", "System", (Scope.DESTINATIONS_READ, Scope.ORGANISATIONS_ADMIN)),
    ("/console/hash-tester", "Hash tester", (Scope.DESTINATIONS_READ,)),
    ("/console/keys", "Keys", (Scope.KEYS_ADMIN,)),
    ("/console/sessions", "Sessions", (Scope.KEYS_ADMIN,)),
    ("/console/organisations", "Organisations", (Scope.ORGANISATIONS_ADMIN,)),
)
_OF_ALL_DESTINATIONS: Final = ("/console/privacy", "/console/system")
_OF_ORGANISATION: Final = ("/console/keys", "/console/sessions", "/console/organisations")


@dataclass(frozen=True, slots=True)
class Navigation:
    """The navigation of a visitor. `locked` contains the pages that the visitor's role may not open."""

    main: Sequence[NavigationItem]
    more: Sequence[NavigationItem]
    locked: Sequence[NavigationItem]

    @property
    def organisation(self) -> list[NavigationItem]:
        """The pages about the organisation and who has access to it, for the menu at its name."""
        return [item for item in self.more if item.address in _OF_ORGANISATION]


def navigation_of(visitor: Visitor, path: str) -> Navigation:
    """Return the navigation of a visitor. Only the platform role sees Organisations."""
    main = [_item(visitor, path, *row) for row in MAIN]
    more = [
        _item(visitor, path, *row)
        for row in MORE
        if visitor.caller.is_platform or row[2] != (Scope.ORGANISATIONS_ADMIN,)
    ]
    return Navigation(
        main=[item for item in main if not item.needs],
        more=[item for item in more if not item.needs],
        locked=[item for item in (*main, *more) if item.needs],
    )


def _item(visitor: Visitor, path: str, address: str, label: str, scopes: tuple[Scope, ...]) -> NavigationItem:
    below = "/console/destinations" if address == "/console" else address
    is_current = path == address or path.startswith(below)
    needs = "" if visitor.caller.may(*scopes) else f"the role {', '.join(roles_with(scopes))}"
    if not needs and address in _OF_ALL_DESTINATIONS and visitor.caller.destination_ids is not None:
        needs = "a key for all destinations"
    return NavigationItem(address, label, is_current, needs)
