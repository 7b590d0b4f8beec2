"""The client of the provider: what it accepts as an identity, and what it refuses, with a fake provider."""

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

from app.admin import Scope
from app.admin.access.people import (
    ACTIONS,
    PRECEDENCE,
    ROLES,
    PersonClaims,
    PersonRole,
    display_name,
    person_caller,
    role_of,
    subject_of,
    why_not,
)
from app.domain.sign_in import Identity, Logout, OidcFailure
from app.oidc_client import OidcClient
from tests.clock import Clock
from tests.console.identity_provider import ISSUER, LOGOUT_EVENT, Provider, from_now

NOW = int(time.time())


def client_of(provider: Any, clock: Clock | None = None) -> OidcClient:
    return OidcClient(
        ISSUER,
        "console",
        "secret",
        "https://app.example/console/oidc/callback",
        transport=httpx.MockTransport(provider),
        monotonic=clock or Clock(0.0),
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


@pytest.mark.parametrize("claims", [{"exp": from_now(-30)}, {"iat": from_now(30)}])
async def test_a_minute_between_the_clocks_is_allowed(claims: dict[str, Any]) -> None:
    """In both directions."""
    assert isinstance(await exchanged(Provider(claims=claims)), Identity)


async def test_a_fresh_sign_in_must_be_fresh() -> None:
    """By the provider's `auth_time`: a provider that ignores max_age is not believed."""
    assert isinstance(await exchanged(Provider(claims={"auth_time": from_now(0)}), fresh=True), Identity)
    for claims in ({"auth_time": from_now(-600)}, {}):
        assert await exchanged(Provider(claims=claims), fresh=True) == OidcFailure("sign_in_too_old")


@pytest.mark.parametrize(
    ("claims", "at"), [({"auth_time": NOW - 900}, NOW - 900), ({}, 0)], ids=["with auth_time", "without"]
)
async def test_the_time_of_the_sign_in_is_the_providers(claims: dict[str, Any], at: float) -> None:
    """Never the time of the token: without the claim, the sign-in counts as old."""
    identity = await exchanged(Provider(claims=claims))
    assert isinstance(identity, Identity)
    assert identity.authenticated_at == at


@pytest.mark.parametrize("at", [from_now(3600), -1, float("1e300"), "now", [1], True])
async def test_an_impossible_auth_time_is_refused(at: Any) -> None:
    """Whatever its type is; `true` is the first second of 1970, so it is old."""
    identity = await exchanged(Provider(claims={"auth_time": at}))
    assert isinstance(identity, OidcFailure) or identity.authenticated_at == 1


async def test_a_new_signing_key_is_found() -> None:
    """The keys are read again once, and at most every half minute whatever the tokens."""
    provider, clock = Provider(), Clock(100.0)
    client = client_of(provider, clock)
    arguments = {"code_verifier": "verifier" * 8, "nonce": "nonce-1"}
    assert isinstance(await client.exchange("code", **arguments), Identity)
    provider.key = RSAKey.generate_key(2048, {"kid": "two"})
    assert isinstance(await client.exchange("code", **arguments), OidcFailure)
    clock.now += 60
    assert isinstance(await client.exchange("code", **arguments), Identity)
    assert provider.asked.count("/keys") == 2


async def test_a_provider_that_is_away_is_named() -> None:
    """At the start of a sign-in also when it was known before, and within seconds."""
    provider, clock = Provider(), Clock(100.0)
    client = client_of(provider, clock)
    assert isinstance(await client.authorization_url(state="s", nonce="n", code_verifier="v" * 48), str)
    provider.away = True
    clock.now += 11
    failure = await client.authorization_url(state="s", nonce="n", code_verifier="v" * 48)
    assert failure == OidcFailure("provider_unavailable", is_provider=True)


@pytest.mark.parametrize("away", [False, True])
async def test_many_starts_read_the_metadata_once(away: bool) -> None:
    """Also while the provider does not answer: so this service cannot be used to flood it."""
    provider = Provider(away=away)
    client = client_of(provider)
    for _ in range(50):
        await client.authorization_url(state="s", nonce="n", code_verifier="v" * 48)
    assert provider.asked == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    "header",
    [{"typ": "at+jwt"}, {"typ": "logout+jwt"}, {"crit": ["x"], "x": 1}, {"b64": False, "crit": ["b64"]}],
)
async def test_a_token_of_another_kind_is_refused(header: dict[str, Any]) -> None:
    """Although the provider signed it."""
    assert isinstance(await exchanged(Provider(header=header)), OidcFailure)


UNREADABLE = [
    {"kty": "EC", "crv": "brainpoolP256r1", "x": "AA", "y": "AA", "kid": "b"},
    {"kty": "RSA", "e": "AQAB", "kid": "r"},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "o", "key_ops": ["unknown"]},
    {"kty": "AKP", "kid": "q"},
    {"kid": "k"},
    "text",
    None,
]


@pytest.mark.parametrize("unreadable", UNREADABLE)
async def test_a_key_that_cannot_be_read_is_skipped(unreadable: Any) -> None:
    """RFC 7517 §5: the keys beside it still verify tokens."""
    provider = Provider()
    provider.keys = {"keys": [unreadable, provider.key.as_dict(private=False)]}
    assert isinstance(await exchanged(provider), Identity)


async def test_the_first_hundred_keys_are_read() -> None:
    """To read thousands would occupy the process for seconds."""
    provider = Provider()
    for others, result in ((99, Identity), (100, OidcFailure)):
        provider.keys = {"keys": [UNREADABLE[0]] * others + [provider.key.as_dict(private=False)]}
        assert isinstance(await exchanged(provider), result)


@pytest.mark.parametrize(
    "keys", [{"keys": []}, {}, {"keys": "text"}, {"keys": [None]}, [], {"keys": {"a": 1}}]
)
async def test_a_malformed_key_set_is_a_failure_and_not_cached(keys: Any) -> None:
    """A process that started with it accepts tokens when the provider is repaired."""
    provider, clock = Provider(keys=keys), Clock(100.0)
    client = client_of(provider, clock)
    arguments = {"code_verifier": "verifier" * 8, "nonce": "nonce-1"}
    assert isinstance(await client.exchange("code", **arguments), OidcFailure)
    provider.keys, clock.now = None, 140.0
    assert isinstance(await client.exchange("code", **arguments), Identity)


async def test_a_logout_token_names_a_person_or_a_session() -> None:
    """Or both."""
    provider = Provider()
    client = client_of(provider)
    assert await client.logout_of(provider.logout_token()) == Logout("jti-1", "ada", None)
    assert await client.logout_of(provider.logout_token(sub=None, sid="s")) == Logout("jti-1", None, "s")
    provider.header = {"typ": "logout+jwt"}
    assert await client.logout_of(provider.logout_token(aud=["console", "b"])) == Logout("jti-1", "ada", None)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"events": None},
        {"events": {}},
        {"events": {LOGOUT_EVENT: None}},
        {"events": [LOGOUT_EVENT]},
        {"nonce": "nonce-1"},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"sub": None},
        {"sub": ["ada"]},
        {"sub": None, "sid": ""},
        {"iat": None},
        {"iat": from_now(-3600)},
        {"iat": from_now(3600)},
        {"exp": from_now(-120)},
    ],
)
async def test_a_wrong_logout_token_is_refused(claims: dict[str, Any]) -> None:
    """Whatever the signature says."""
    provider = Provider()
    assert isinstance(await client_of(provider).logout_of(provider.logout_token(**claims)), OidcFailure)


async def test_no_token_serves_as_one_of_the_other_kind() -> None:
    """An ID token ends no session, and a logout token begins none."""
    provider = Provider()
    assert isinstance(await client_of(provider).logout_of(provider.signed({"nonce": "nonce-1"})), OidcFailure)
    provider.token = provider.logout_token()
    assert isinstance(await exchanged(provider), OidcFailure)
    foreign = Provider(signed_with=RSAKey.generate_key(2048, {"kid": "one"}))
    assert isinstance(await client_of(foreign).logout_of(foreign.logout_token()), OidcFailure)


async def test_metadata_of_another_issuer_is_refused() -> None:
    """It could name a foreign token endpoint, which would get the code."""
    provider = Provider(metadata={"issuer": "https://evil.example"})
    assert isinstance(await exchanged(provider), OidcFailure)
    assert "/token" not in provider.asked


async def test_an_address_that_is_none_is_no_metadata() -> None:
    """The search for its scheme raised an error: a sign-out ended in an internal error."""
    provider = Provider(metadata={"token_endpoint": "https://[half"})
    assert await client_of(provider).logout_url(back="https://here.example") is None
    provider = Provider(metadata={"end_session_endpoint": "https://[half"})
    assert not isinstance(await exchanged(provider), OidcFailure)


@pytest.mark.parametrize(
    ("claims", "roles"),
    [
        ({"groups": ["a"]}, ("admin",)),
        ({"groups": "b"}, ("viewer",)),
        ({"groups": ["p", "b"]}, ("viewer", "privacy")),
        ({"groups": ["b", "o"]}, ("viewer", "platform")),
        ({"groups": ["x"]}, ()),
        ({"groups": {"a": 1}}, ()),
        ({}, ()),
    ],
)
def test_every_role_of_the_groups_counts(claims: dict[str, Any], roles: tuple[str, ...]) -> None:
    """A person has the scopes of all of them; only text counts as a group."""
    groups = (("admin", "a"), ("viewer", "b"), ("privacy", "p"), ("platform", "o"))
    found = PersonClaims("groups", groups).roles_of(claims)
    assert found == roles
    assert person_caller("s", "n", found).scopes == {scope for role in found for scope in ROLES[role]}


@pytest.mark.parametrize(
    "name",
    ["Ada Lovelace (oidc:ada)", "Ada Lovelace \uff08oidc\uff1aada\uff09", "Ada Lovelace (oidc\ufe55ada)"],
)
def test_a_name_cannot_imitate_an_id(name: str) -> None:
    """The audit writes the id after the name in parentheses."""
    shown = person_caller("mallory", display_name(name, "mallory"), ()).actor
    assert shown == "Ada Lovelace oidc ada (oidc:mallory)"


@pytest.mark.parametrize("sub", ["x) (oidc:ada", "x\uff09 \uff08oidc:ada", "urn:person:ada"])
def test_a_subject_cannot_imitate_the_id_of_another(sub: str) -> None:
    """The audit writes it in parentheses, so one with parentheses is stored as its digest."""
    actor = person_caller(subject_of(sub), "Ada", ()).actor
    assert actor.startswith("Ada (oidc:")
    assert actor.count("(oidc:") == actor.count(")") == 1
    assert ("sha256:" in actor) is (sub != "urn:person:ada")


def test_a_nested_claim_is_found_and_the_organisation_is_exactly_one() -> None:
    """As Keycloak nests roles; several organisations are none."""
    rules = PersonClaims("realm_access.roles", (("viewer", "b"),), "org")
    assert rules.roles_of({"realm_access": {"roles": ["b"]}}) == (PersonRole.VIEWER,)
    assert rules.organisation_of({"org": "ac\0me"}) is None
    assert rules.organisation_of({"org": "acme"}) == "acme"
    assert rules.organisation_of({"org": ["acme", "beta"]}) is None
    assert rules.organisation_of({}) is None
    assert PersonClaims().organisation_of({}) == "default"


def test_no_address_is_returned_or_stored() -> None:
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

    async def answer(request: httpx.Request) -> httpx.Response:
        at_limit = request.url.path.endswith(path)
        return httpx.Response(200, stream=body) if at_limit else await provider(request)

    client = client_of(answer)
    failure = await client.exchange("code", code_verifier="verifier" * 8, nonce="nonce-1")
    assert failure == OidcFailure("provider_unavailable", is_provider=True)
    assert 0 < body.read < 1_000_000


@pytest.mark.parametrize("depth", [10_000, 400_000])
@pytest.mark.parametrize("unit", [b"[", b'{"a":'])
async def test_metadata_nested_too_deeply_are_unreadable(unit: bytes, depth: int) -> None:
    """And they are not read again at once: the pages that read them need no key."""
    asked = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, content=(unit * depth)[:400_000])

    client = client_of(answer)
    unavailable = OidcFailure("provider_unavailable", is_provider=True)
    assert await client.authorization_url(state="s", nonce="n", code_verifier="v" * 64) == unavailable
    assert await client.logout_url(back="https://app.example/") is None
    assert await client.logout_of("a.b.c") == unavailable
    assert asked == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize("address", ["https://h:x/", "https://h/\x00", "https://[::1/"])
async def test_an_address_of_keys_that_cannot_be_read_is_no_address(address: str) -> None:
    client = client_of(Provider(metadata={"jwks_uri": address}))
    failure = await client.exchange("code", code_verifier="verifier" * 8, nonce="nonce-1")
    assert failure == OidcFailure("provider_unavailable", is_provider=True)
