"""Tokens that an attacker made or changed, and claims at the edges: each sign-in and logout with one fails.

The tokens are written byte by byte, because a library would refuse to write most of them.
"""

import base64
import hmac
import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc.jwk import RSAKey

from app.domain.sign_in import Identity, OidcFailure
from tests.console.identity_provider import ISSUER, LOGOUT_EVENT, Provider, from_now
from tests.console.test_oidc_client import client_of, exchanged

KEY: Final = RSAKey.generate_key(2048, {"kid": "one"})  # the provider's
OWN: Final = RSAKey.generate_key(2048, {"kid": "one"})  # the attacker's, with the same id


def encoded(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def claims(**changed: Any) -> dict[str, Any]:
    """Return claims that serve as an ID token and, but for the nonce, as a logout token."""
    usual = {"iss": ISSUER, "sub": "ada", "aud": "console", "exp": from_now(300), "iat": from_now(0)}
    usual |= {"nonce": "nonce-1", "jti": "jti-1", "events": {LOGOUT_EVENT: {}}}
    return {name: value() if callable(value) else value for name, value in (usual | changed).items()}


def private(key: RSAKey) -> rsa.RSAPrivateKey:
    found = key.private_key
    assert isinstance(found, rsa.RSAPrivateKey)
    return found


def rs256(signed: bytes, key: RSAKey = OWN) -> bytes:
    return private(key).sign(signed, padding.PKCS1v15(), hashes.SHA256())


def ps256(signed: bytes) -> bytes:
    salt = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return private(KEY).sign(signed, salt, hashes.SHA256())


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda signed: hmac.digest(secret, signed, "sha256")


def token(header: object, sign: Callable[[bytes], bytes] = rs256, payload: object = None) -> str:
    signed = f"{encoded(header)}.{encoded(claims() if payload is None else payload)}"
    return f"{signed}.{encoded(sign(signed.encode()))}"


def of_provider(header: dict[str, Any] | None = None, **changed: Any) -> str:
    """Return a token with the provider's signature."""
    return token(
        {"alg": "RS256", "kid": "one"} | (header or {}), lambda signed: rs256(signed, KEY), claims(**changed)
    )


def genuine() -> list[str]:
    return of_provider().split(".")


PUBLIC_PEM: Final = (
    private(KEY)
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
)
PUBLIC_JWK: Final = KEY.as_dict(private=False)
OWN_JWK: Final = OWN.as_dict(private=False)

FORGED: Final[dict[str, Callable[[], str]]] = {
    "alg none in place of the genuine header": lambda: f"{encoded({'alg': 'none'})}.{genuine()[1]}.",
    "HS256 with the public key in PEM": lambda: token({"alg": "HS256", "kid": "one"}, hs256(PUBLIC_PEM)),
    "HS256 with the client's secret": lambda: token({"alg": "HS256"}, hs256(b"secret")),
    "a key in the header": lambda: token({"alg": "RS256", "kid": "one", "jwk": OWN_JWK}),
    "the address of keys in the header": lambda: token(
        {"alg": "RS256", "kid": "two", "jku": "https://evil.example/keys"}
    ),
    "no key id": lambda: token({"alg": "RS256"}),
    "PS256 under the name RS256": lambda: token({"alg": "RS256", "kid": "one"}, ps256),
    "a signature of zeros": lambda: token({"alg": "RS256", "kid": "one"}, lambda _: bytes(256)),
    "no signature": lambda: ".".join([*genuine()[:2], ""]),
    "other claims under the genuine signature": lambda: ".".join(
        [genuine()[0], encoded(claims(sub="admin")), genuine()[2]]
    ),
    "a signature as a JSON object": lambda: json.dumps(
        {"protected": genuine()[0], "payload": genuine()[1], "signature": genuine()[2]}
    ),
    "claims that are a list": lambda: token(
        {"alg": "RS256", "kid": "one"}, lambda s: rs256(s, KEY), [claims()]
    ),
    "a megabyte": lambda: token({"alg": "RS256", "kid": "one", "x": "a" * 700_000}),
    **{f"text {text!r}": partial(str, text) for text in ("a.b.c", "é", "e30.e30.e30")},
    "deep claims": lambda: token({"alg": "RS256"}, payload=b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
}


def provider_of(text: str) -> Provider:
    return Provider(key=KEY, keys={"keys": [PUBLIC_JWK]}, token=text)


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_signs_nobody_in_or_out(name: str) -> None:
    """And no address of the token is called."""
    forged = FORGED[name]()
    provider = provider_of(forged)
    assert isinstance(await exchanged(provider), OidcFailure)
    assert isinstance(await client_of(provider).logout_of(forged), OidcFailure)
    assert set(provider.asked) <= {"/.well-known/openid-configuration", "/token", "/keys"}


async def test_the_genuine_token_is_accepted() -> None:
    """Otherwise the table above would prove nothing."""
    assert isinstance(await exchanged(provider_of(of_provider())), Identity)


async def test_a_shared_secret_in_the_key_set_verifies_nothing() -> None:
    """A key set is public, so a symmetric key in it is known to everybody."""
    secret = {"kty": "oct", "k": encoded(b"s" * 32), "kid": "shared", "alg": "HS256"}
    provider = Provider(key=KEY, keys={"keys": [secret, PUBLIC_JWK]})
    provider.token = token({"alg": "HS256", "kid": "shared"}, hs256(b"s" * 32))
    assert isinstance(await exchanged(provider), OidcFailure)


WRONG_CLAIMS: Final[list[dict[str, Any]]] = [
    {"nonce": "another"},
    {"nonce": None},
    {"aud": "other"},
    {"iss": "https://evil.example"},
    {"exp": from_now(-120)},
    {"exp": None},
    {"iat": from_now(120)},
    {"iat": from_now(-3600)},
    {"iat": "now"},
    {"sub": None},
    {"sub": ""},
    {"sub": "a" * 256},
    {"sub": 7},
    {"aud": ["console", "other"]},  # without azp
    {"azp": "other"},
    {"iss": None},
    {"nbf": from_now(3600)},
    {"iat": True},
    {"iat": float("inf")},
    {"iat": float("nan")},
    {"iat": None},
    {"sub": "ada\n"},
    {"sub": ["ada"]},
]


def name_of(changed: dict[str, Any]) -> str:
    return " and ".join(changed)


@pytest.mark.parametrize("changed", WRONG_CLAIMS, ids=name_of)
async def test_a_claim_at_the_edge_is_refused(changed: dict[str, Any]) -> None:
    """Although the provider signed it."""
    given = {name: value for name, value in claims(**changed).items() if value is not None}
    text = token({"alg": "RS256", "kid": "one"}, lambda signed: rs256(signed, KEY), given)
    assert isinstance(await exchanged(provider_of(text)), OidcFailure)


@pytest.mark.parametrize(
    "changed", [{"aud": ["console"]}, {"aud": ["other", "console"], "azp": "console"}], ids=name_of
)
async def test_a_correct_claim_beside_it_is_accepted(changed: dict[str, Any]) -> None:
    assert isinstance(await exchanged(provider_of(of_provider(**changed))), Identity)


ANSWERS: Final[dict[str, Callable[[], httpx.Response]]] = {
    "an error beside a token": lambda: httpx.Response(
        200, json={"error": "access_denied", "id_token": of_provider()}
    ),
    "a redirect": lambda: httpx.Response(302, headers={"location": "https://evil.example/token"}),
    "a list": lambda: httpx.Response(200, json=[{"id_token": of_provider()}]),
    "a page": lambda: httpx.Response(200, text="<html>"),
    "no id token": lambda: httpx.Response(200, json={"access_token": "a", "sub": "ada"}),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_another_answer_of_the_token_endpoint_is_refused(name: str) -> None:
    provider = provider_of("")

    async def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "login.example"
        return ANSWERS[name]() if request.url.path == "/token" else await provider(request)

    client = client_of(answer)
    assert isinstance(await client.exchange("code", code_verifier="v" * 64, nonce="nonce-1"), OidcFailure)
