"""The roles of people and their permissions.

The console, its error messages and the tests share this table.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from app.admin.access import Scope


class PersonRole(StrEnum):
    """A role of a person (interface §14)."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    EDITOR = "editor"
    ADMIN = "admin"
    PRIVACY = "privacy"
    PLATFORM = "platform"


_VIEWER = frozenset({Scope.DESTINATIONS_READ, Scope.EVENTS_READ})
_OPERATOR = _VIEWER | {Scope.EVENTS_WRITE, Scope.REPLAY}
_EDITOR = _OPERATOR | {Scope.DESTINATIONS_WRITE}

ROLES: Mapping[PersonRole, frozenset[Scope]] = {
    PersonRole.VIEWER: _VIEWER,
    PersonRole.OPERATOR: _OPERATOR,
    PersonRole.EDITOR: _EDITOR,
    PersonRole.ADMIN: _EDITOR | {Scope.ERASE, Scope.KEYS_ADMIN},
    # Scope `erase` permits erasures and reading consent records.
    PersonRole.PRIVACY: frozenset({Scope.ERASE}),
    PersonRole.PLATFORM: frozenset({Scope.ORGANISATIONS_ADMIN}),
}

# The action that each scope permits. It completes a sentence that begins "This role may not".
ACTIONS: Mapping[Scope, str] = {
    Scope.DESTINATIONS_READ: "see destinations",
    Scope.DESTINATIONS_WRITE: "change destinations and mappings",
    Scope.EVENTS_READ: "see events",
    Scope.EVENTS_WRITE: "send events",
    Scope.REPLAY: "replay events",
    Scope.ERASE: "erase persons",
    Scope.KEYS_ADMIN: "manage keys and see the audit",
    Scope.ORGANISATIONS_ADMIN: "manage organisations",
}

# A key gets the first of these roles whose scopes it has.
PRECEDENCE = (
    PersonRole.ADMIN,
    PersonRole.EDITOR,
    PersonRole.OPERATOR,
    PersonRole.VIEWER,
    PersonRole.PLATFORM,
    PersonRole.PRIVACY,
)


def role_of(scopes: Iterable[str]) -> PersonRole | None:
    """Return the role with which a key uses the console, or None if the key has the scopes of no role."""
    held = frozenset(scopes)
    return next((role for role in PRECEDENCE if ROLES[role] <= held), None)


def scopes_of(roles: Iterable[str]) -> frozenset[str]:
    """Return the scopes of a person: those of all its roles."""
    return frozenset().union(*(ROLES[PersonRole(role)] for role in roles))


def home_of(scopes: Iterable[str]) -> str:
    """Return the address of the first console page that a visitor with these scopes may open."""
    held = frozenset(scopes)
    if Scope.DESTINATIONS_READ in held:
        return "/console"
    return "/console/organisations" if Scope.ORGANISATIONS_ADMIN in held else "/console/privacy"


def roles_with(scopes: Iterable[Scope]) -> list[PersonRole]:
    """Return the roles that have at least one of these scopes, in the order of the table."""
    wanted = frozenset(scopes)
    return [role for role, held in ROLES.items() if held & wanted]


def why_not(role: str, scopes: tuple[Scope, ...]) -> str:
    """Return the sentence that says which action the role may not do, and which roles may do it."""
    action = " or ".join(ACTIONS[scope] for scope in scopes)
    others = ", ".join(roles_with(scopes))
    return (
        f"Your role, {role}, may not {action}. Roles that may: {others}. Ask an admin of your organisation."
    )
