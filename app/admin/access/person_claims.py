"""Find the role and the organisation of a person in the claims of an ID token. Pure."""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.admin.access import Caller
from app.admin.access.roles import PersonRole, scopes_of
from app.domain.ids import DEFAULT_ORGANISATION, KeyId, OrganisationId
from app.domain.privacy.personal_text import holds_personal_text, is_personal_id

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

    The id is the claim, or its digest if the claim is an email address or a phone number.
    """
    return f"sha256:{hashlib.sha256(sub.encode()).hexdigest()[:32]}" if is_personal_id(sub) else sub


def display_name(name: str | None, subject: str) -> str:
    """Return the name to show: never an email address or a phone number.

    The audit writes `name (oidc:subject)`. So a name loses the characters with which it could imitate an id.
    """
    shown = " ".join(unicodedata.normalize("NFKC", name or "").translate(_OF_IDS).split())[:100]
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
