"""The results of a person's sign-in or sign-out through OpenID Connect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class OidcFailure:
    """A failed sign-in. `why` is a code. `is_provider` means that the provider failed or is unreachable."""

    why: str
    is_provider: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """A person whom the provider identified. `claims` may contain personal data.

    `authenticated_at` is the time of the person's sign-in at the provider, 0 if the provider does not state
    it. `session` is the provider's id of its session.
    """

    subject: str
    name: str | None
    authenticated_at: float
    session: str | None
    claims: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Logout:
    """A sign-out at the provider, of one session or of all sessions of a person. `id` is unique."""

    id: str
    subject: str | None
    session: str | None
