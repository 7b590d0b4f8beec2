"""Find the role and the organisation of a person in the claims of an ID token. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.admin.access import Caller
from app.admin.roles import ROLES, PersonRole, strongest
from app.domain.ids import DEFAULT_ORGANISATION, KeyId, OrganisationId
from app.domain.personal_text import holds_personal_text, is_personal_id

PERSON = "oidc:"
"""Prefix of the ids of people."""


@dataclass(frozen=True, slots=True)
class PersonClaims:
    """The names of the claims with a person's groups and organisation, and the groups of each role."""

    role_claim: str = "groups"
    groups: Sequence[tuple[str, str]] = ()  # (role, group)
    organisation_claim: str | None = None

    def role_of(self, claims: Mapping[str, Any]) -> PersonRole | None:
        """Return the strongest role of a person's groups, or None."""
        groups = _texts(_claim(claims, self.role_claim))
        return strongest(PersonRole(role) for role, group in self.groups if group in groups)

    def organisation_of(self, claims: Mapping[str, Any]) -> OrganisationId | None:
        """Return the organisation in the claims, or None if they have no organisation or several."""
        if self.organisation_claim is None:
            return DEFAULT_ORGANISATION
        named = _texts(_claim(claims, self.organisation_claim))
        return OrganisationId(next(iter(named))) if len(named) == 1 else None


def person_caller(subject: str, name: str, role: str, organisation: OrganisationId) -> Caller:
    """Return a person as a caller. The audit names the display name and the subject."""
    return Caller(KeyId(PERSON + subject), ROLES[PersonRole(role)], None, organisation, person=name)


def subject_of(sub: str) -> str:
    """Return the id to store for a person with this `sub` claim.

    The id is the claim, or its digest if the claim is an email address or a phone number.
    """
    return f"sha256:{hashlib.sha256(sub.encode()).hexdigest()[:32]}" if is_personal_id(sub) else sub[:255]


def display_name(name: str | None, subject: str) -> str:
    """Return the name to show: never an email address or a phone number."""
    shown = " ".join((name or "").split())[:100]
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
    return frozenset(each for each in values if isinstance(each, str) and each)
