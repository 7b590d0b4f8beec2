"""The client of the provider: what it accepts as an identity, and what it refuses, with a fake provider."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from app.admin.access import Scope
from app.admin.person_claims import PersonClaims, display_name, subject_of
from app.admin.roles import ACTIONS, PRECEDENCE, ROLES, PersonRole, role_of, why_not
from app.oidc_client import Identity, OidcClient, OidcFailure

ISSUER = "https://login.example"
NOW = 1_780_000_000.0


@dataclass
class Provider:
    """A provider that answers with whatever claims and key a test wants."""

    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    claims: dict[str, Any] = field(default_factory=dict)
    signed_with: RSAKey | None = None
    header: dict[str, Any] = field(default_factory=dict)
    away: bool = False
    asked: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.away:
            raise httpx.ConnectError("away")
        match request.url.path:
            case "/.well-known/openid-configuration":
                return httpx.Response(
                    200,
                    json={
                        "issuer": ISSUER,
                        "authorization_endpoint": ISSUER + "/auth",
                        "token_endpoint": ISSUER + "/token",
                        "jwks_uri": ISSUER + "/keys",
                        "end_session_endpoint": ISSUER + "/end",
                    }
                    | self.metadata,
                )
            case "/keys":
                return httpx.Response(200, json=KeySet([self.key]).as_dict(private=False))
            case _:
                form = parse_qs(request.content.decode())
                assert form["code_verifier"] == ["verifier" * 8]
                claims = {
                    "iss": ISSUER,
                    "sub": "ada",
                    "aud": "console",
                    "exp": NOW + 300,
                    "iat": NOW,
                    "nonce": "nonce-1",
                    "name": "Ada",
                }
                claims |= self.claims
                key = self.signed_with or self.key
                header = {"alg": "RS256", "kid": key.kid} | self.header
                token = jwt.encode(header, {k: v for k, v in claims.items() if v is not None}, key)
                return httpx.Response(
                    200, json={"id_token": token, "access_token": "a", "token_type": "Bearer"}
                )


@dataclass
class Clock:
    elapsed: float = 0.0

    def __call__(self) -> float:
        return self.elapsed


def client_of(provider: Provider, clock: Clock | None = None) -> OidcClient:
    return OidcClient(
        ISSUER,
        "console",
        "secret",
        "https://app.example/console/oidc/callback",
        transport=httpx.MockTransport(provider),
        now=lambda: NOW,
        monotonic=clock or Clock(),
    )


async def exchanged(provider: Provider, **more: Any) -> Identity | OidcFailure:
    return await client_of(provider).exchange("code", code_verifier="verifier" * 8, nonce="nonce-1", **more)


async def test_the_request_carries_pkce_state_and_nonce() -> None:
    """And no secret."""
    url = await client_of(Provider()).authorization_url(
        state="s", nonce="n", code_verifier="v" * 64, fresh=True
    )
    assert isinstance(url, str)
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert query["code_challenge_method"] == "S256"
    assert "v" * 20 not in query["code_challenge"]
    assert (query["state"], query["nonce"], query["prompt"]) == ("s", "n", "login")
    assert "secret" not in url


async def test_a_valid_token_is_an_identity() -> None:
    """With its name, and hidden claims."""
    identity = await exchanged(Provider(claims={"groups": ["leads"]}))
    assert isinstance(identity, Identity)
    assert (identity.subject, identity.name) == ("ada", "Ada")
    assert "leads" not in repr(identity)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "other"},
        {"aud": ["console", "other"], "azp": "other"},
        {"iss": "https://evil.example"},
        {"exp": NOW - 120},
        {"exp": None},
        {"iat": NOW + 120},
        {"sub": None},
    ],
)
async def test_wrong_claims_are_refused(claims: dict[str, Any]) -> None:
    """Whatever the signature says."""
    assert isinstance(await exchanged(Provider(claims=claims)), OidcFailure)


@pytest.mark.parametrize("claims", [{"exp": NOW - 30}, {"iat": NOW + 30}])
async def test_a_minute_between_the_clocks_is_allowed(claims: dict[str, Any]) -> None:
    """In both directions."""
    assert isinstance(await exchanged(Provider(claims=claims)), Identity)


async def test_a_fresh_sign_in_must_be_fresh() -> None:
    """A provider that ignores max_age is not believed."""
    assert isinstance(await exchanged(Provider(claims={"auth_time": int(NOW)}), max_age=0), Identity)
    old = await exchanged(Provider(claims={"auth_time": int(NOW) - 600}), max_age=0)
    assert isinstance(old, OidcFailure)


async def test_a_foreign_signature_is_refused() -> None:
    """A key of the same id that the provider does not publish."""
    foreign = RSAKey.generate_key(2048, {"kid": "one"})
    assert await exchanged(Provider(signed_with=foreign)) == OidcFailure("signature_invalid")


async def test_a_new_signing_key_is_found() -> None:
    """The keys are read again once; not more often than every half minute, whoever sends tokens."""
    provider, clock = Provider(), Clock(100.0)
    client = client_of(provider, clock)
    arguments = {"code_verifier": "verifier" * 8, "nonce": "nonce-1"}
    assert isinstance(await client.exchange("code", **arguments), Identity)
    provider.key = RSAKey.generate_key(2048, {"kid": "two"})
    assert isinstance(await client.exchange("code", **arguments), OidcFailure)
    clock.elapsed += 60
    assert isinstance(await client.exchange("code", **arguments), Identity)
    assert provider.asked.count("/keys") == 2


async def test_a_provider_that_is_away_is_named() -> None:
    """At the start of a sign-in also when it was known before."""
    provider = Provider()
    client = client_of(provider)
    assert isinstance(await client.authorization_url(state="s", nonce="n", code_verifier="v"), str)
    provider.away = True
    failure = await client.authorization_url(state="s", nonce="n", code_verifier="v")
    assert failure == OidcFailure("provider_unavailable", is_provider=True)


async def test_metadata_of_another_issuer_is_refused() -> None:
    """It could name a foreign token endpoint, which would get the code."""
    provider = Provider(metadata={"issuer": "https://evil.example"})
    assert isinstance(await exchanged(provider), OidcFailure)
    assert "/token" not in provider.asked


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["a"]}, PersonRole.ADMIN),
        ({"groups": "b"}, PersonRole.VIEWER),
        ({"groups": ["b", "p"]}, PersonRole.VIEWER),
        ({"groups": ["b", "o"]}, PersonRole.PLATFORM),
        ({"groups": ["x"]}, None),
        ({"groups": {"a": 1}}, None),
        ({}, None),
    ],
)
def test_the_strongest_role_of_the_groups_holds(claims: dict[str, Any], role: PersonRole | None) -> None:
    """And only text counts as a group."""
    groups = (("admin", "a"), ("viewer", "b"), ("privacy", "p"), ("platform", "o"))
    assert PersonClaims("groups", groups).role_of(claims) is role


def test_a_nested_claim_is_found_and_the_organisation_is_exactly_one() -> None:
    """As Keycloak nests roles; several organisations are none."""
    rules = PersonClaims("realm_access.roles", (("viewer", "b"),), "org")
    assert rules.role_of({"realm_access": {"roles": ["b"]}}) is PersonRole.VIEWER
    assert rules.organisation_of({"org": "acme"}) == "acme"
    assert rules.organisation_of({"org": ["acme", "beta"]}) is None
    assert rules.organisation_of({}) is None
    assert PersonClaims().organisation_of({}) == "default"


def test_no_address_is_shown_or_stored() -> None:
    """Neither as a name nor as a subject."""
    assert display_name("ada@example.com", "s-1") == "s-1"
    assert display_name("Ada, tel:+1 206 555 0142", "s-1") == "s-1"
    assert display_name(" Ada  L. ", "s-1") == "Ada L."
    assert subject_of("+12065550142").startswith("sha256:")
    assert "@" not in subject_of("ada@example.com")
    assert subject_of("ada@example.com") == subject_of("ada@example.com")


def test_the_table_of_roles_is_complete() -> None:
    """Every scope has a sentence and a role, every role a place; each key has the role of its scopes."""
    assert set(ACTIONS) == set(Scope)
    assert frozenset().union(*ROLES.values()) == set(Scope)
    assert set(PRECEDENCE) == set(PersonRole) == set(ROLES)
    assert [role_of(scopes) for scopes in ROLES.values()] == list(ROLES)
    assert "Roles that may: admin." in why_not("viewer", (Scope.KEYS_ADMIN,))


class Endless(httpx.AsyncByteStream):
    """A response body that never ends. `read` counts its bytes."""

    def __init__(self) -> None:
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.read += 65_536
            yield b" " * 65_536


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
async def test_a_response_of_the_provider_is_read_up_to_its_limit(path: str) -> None:
    """Whichever of the three it is; the rest is not read."""
    provider, body = Provider(), Endless()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=body) if request.url.path.endswith(path) else provider(request)

    client = client_of(provider)
    client._given_transport = httpx.MockTransport(answer)
    failure = await client.exchange("code", code_verifier="verifier" * 8, nonce="nonce-1")
    assert failure == OidcFailure("provider_unavailable", is_provider=True)
    assert 0 < body.read < 1_000_000
