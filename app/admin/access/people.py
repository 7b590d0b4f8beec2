"""People: their roles with the permissions, and what the claims of an ID token say about a person. Pure."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.admin import Caller, Scope
from app.domain.ids import DEFAULT_ORGANISATION, KeyId, OrganisationId
from app.domain.privacy.normal_forms import compatible
from app.domain.privacy.personal_text import holds_personal_text, is_personal_id


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


PERSON = "oidc:"
"""Prefix of the ids of people."""
_OF_IDS = str.maketrans("():", "   ")


@dataclass(frozen=True, slots=True)
class PersonClaims:
    """The names of the claims with a person's groups and organisation, and the groups of each role."""

    role_claim: str = "groups"
    groups: Sequence[tuple[str, str]] = ()  # (role, group)
    organisation_claim: str | None = None

    def roles_of(self, claims: Mapping[str, Any]) -> tuple[PersonRole, ...]:
        """Return the roles of a person's groups, in the order of the table of roles."""
        groups = _texts(_claim(claims, self.role_claim))
        named = {role for role, group in self.groups if group in groups}
        return tuple(role for role in PersonRole if role in named)

    def organisation_of(self, claims: Mapping[str, Any]) -> OrganisationId | None:
        """Return the organisation in the claims, or None if they have no organisation or several."""
        if self.organisation_claim is None:
            return DEFAULT_ORGANISATION
        named = _texts(_claim(claims, self.organisation_claim))
        return OrganisationId(next(iter(named))) if len(named) == 1 else None


def person_caller(
    subject: str, name: str, roles: Iterable[str], organisation: OrganisationId = DEFAULT_ORGANISATION
) -> Caller:
    """Return a person as a caller. The audit names the display name and the subject."""
    return Caller(KeyId(PERSON + subject), scopes_of(roles), None, organisation, person=name)


def subject_of(sub: str) -> str:
    """Return the id to store for a person with this `sub` claim.

    The id is the claim, or its digest if the claim is an email address or a phone number, or has a
    parenthesis: the audit writes the id in parentheses.
    """
    is_hidden = is_personal_id(sub) or not set("()").isdisjoint(compatible(sub))
    return f"sha256:{hashlib.sha256(sub.encode()).hexdigest()[:32]}" if is_hidden else sub


def display_name(name: str | None, subject: str) -> str:
    """Return the name to show: never an email address or a phone number.

    The audit writes `name (oidc:subject)`. So a name loses the characters with which it could imitate an id.
    """
    shown = " ".join(compatible(name or "").translate(_OF_IDS).split())[:100]
    is_personal = is_personal_id(shown) or holds_personal_text(shown)
    return shown if shown and not is_personal and shown.isprintable() else subject


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim; a name with dots also finds a member of a nested claim."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> frozenset[str]:
    values = value if isinstance(value, list) else [value]
    return frozenset(each for each in values if isinstance(each, str) and each and each.isprintable())
