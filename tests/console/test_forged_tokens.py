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
from joserfc.jwk import ECKey, RSAKey

from app.domain.sign_in import Identity, OidcFailure
from tests.console.identity_provider import ISSUER, LOGOUT_EVENT, Provider, from_now
from tests.console.test_oidc_client import client_of, exchanged

KEY: Final = RSAKey.generate_key(2048, {"kid": "one"})  # the provider's
OWN: Final = RSAKey.generate_key(2048, {"kid": "one"})  # the attacker's, with the same id
EC_KEY: Final = ECKey.generate_key("P-256", {"kid": "curve"})


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
    "alg none with the genuine signature": lambda: f"{encoded({'alg': 'none'})}.{'.'.join(genuine()[1:])}",
    "alg NonE": lambda: token({"alg": "NonE", "kid": "one"}, lambda _: b""),
    "no alg": lambda: token({"kid": "one"}),
    "alg null": lambda: token({"alg": None, "kid": "one"}),
    "alg of two": lambda: token({"alg": ["RS256", "none"], "kid": "one"}),
    "alg in lower case": lambda: token({"alg": "rs256", "kid": "one"}, lambda signed: rs256(signed, KEY)),
    "alg twice, none last": lambda: token(b'{"alg":"RS256","kid":"one","alg":"none"}', lambda _: b""),
    "alg twice, none first": lambda: token(b'{"alg":"none","kid":"one","alg":"RS256"}', lambda _: b""),
    "HS256 with the public key in PEM": lambda: token({"alg": "HS256", "kid": "one"}, hs256(PUBLIC_PEM)),
    "HS256 with the public key in JSON": lambda: token(
        {"alg": "HS256", "kid": "one"}, hs256(json.dumps(PUBLIC_JWK).encode())
    ),
    "HS256 with the modulus": lambda: token({"alg": "HS256", "kid": "one"}, hs256(PUBLIC_JWK["n"].encode())),
    "HS256 with the client's secret": lambda: token({"alg": "HS256"}, hs256(b"secret")),
    "HS256 with an empty secret": lambda: token({"alg": "HS256", "kid": ""}, hs256(b"")),
    "a key in the header": lambda: token({"alg": "RS256", "kid": "one", "jwk": OWN_JWK}),
    "a key in the header and no id": lambda: token({"alg": "RS256", "jwk": OWN_JWK}),
    "the address of keys in the header": lambda: token(
        {"alg": "RS256", "kid": "two", "jku": "https://evil.example/keys"}
    ),
    "the address of a certificate": lambda: token({"alg": "RS256", "x5u": "https://evil.example/cert"}),
    "a certificate in the header": lambda: token({"alg": "RS256", "x5c": [encoded(PUBLIC_PEM)]}),
    "a key id that is a path": lambda: token({"alg": "HS256", "kid": "../../../dev/null"}, hs256(b"")),
    "a key id that is SQL": lambda: token({"alg": "RS256", "kid": "x' UNION SELECT 'k"}),
    "a key id that is a list": lambda: token({"alg": "RS256", "kid": ["one"]}),
    "a key id that is an object": lambda: token({"alg": "RS256", "kid": {"one": 1}}),
    "no key id": lambda: token({"alg": "RS256"}),
    "PS256 under the name RS256": lambda: token({"alg": "RS256", "kid": "one"}, ps256),
    "RS256 with the id of a key of a curve": lambda: token({"alg": "RS256", "kid": "curve"}),
    "ES256 with zeros": lambda: token({"alg": "ES256", "kid": "curve"}, lambda _: bytes(64)),
    "ES256 with the id of an RSA key": lambda: token({"alg": "ES256", "kid": "one"}, lambda _: bytes(64)),
    "a signature of zeros": lambda: token({"alg": "RS256", "kid": "one"}, lambda _: bytes(256)),
    "no signature": lambda: ".".join([*genuine()[:2], ""]),
    "two parts": lambda: ".".join(genuine()[:2]),
    "four parts": lambda: ".".join([*genuine(), genuine()[2]]),
    "five parts, as an encrypted token": lambda: ".".join([*genuine(), "AA", "AA"]),
    "other claims under the genuine signature": lambda: ".".join(
        [genuine()[0], encoded(claims(sub="admin")), genuine()[2]]
    ),
    "a signature as a JSON object": lambda: json.dumps(
        {"protected": genuine()[0], "payload": genuine()[1], "signature": genuine()[2]}
    ),
    "claims that are a list": lambda: token(
        {"alg": "RS256", "kid": "one"}, lambda s: rs256(s, KEY), [claims()]
    ),
    "claims that are compressed": lambda: of_provider({"zip": "DEF", "crit": ["zip"]}),
    "a megabyte": lambda: token({"alg": "RS256", "kid": "one", "x": "a" * 700_000}),
    **{f"text {text!r}": partial(str, text) for text in (" ", "a.b.c", "é", "e30.e30.e30", "." * 9)},
    "deep claims": lambda: token({"alg": "RS256"}, payload=b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
}


def provider_of(text: str) -> Provider:
    keys = {"keys": [PUBLIC_JWK, EC_KEY.as_dict(private=False)]}
    return Provider(key=KEY, keys=keys, token=text)


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
    {"aud": ["console", "other"], "azp": "other"},
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
    {"aud": "console "},
    {"aud": "Console"},
    {"aud": []},
    {"aud": ["Console", "other"]},
    {"aud": {"console": True}},
    {"aud": [["console"]]},
    {"aud": "console,other"},
    {"aud": ["console", "other"]},  # without azp
    {"aud": ["console", "other"], "azp": ["console"]},
    {"azp": "other"},
    {"iss": ISSUER + "/"},
    {"iss": ISSUER.upper()},
    {"iss": ISSUER + "@evil.example"},
    {"iss": [ISSUER]},
    {"iss": None},
    {"nonce": ["nonce-1"]},
    {"nonce": "nonce-1 "},
    {"nonce": "NONCE-1"},
    {"nonce": ""},
    {"nonce": True},
    {"exp": "9999999999"},
    {"exp": [from_now(300)()]},
    {"exp": float("nan")},
    {"exp": -1},
    {"exp": 0},
    {"nbf": from_now(3600)},
    {"nbf": "later"},
    {"iat": True},
    {"iat": float("inf")},
    {"iat": float("nan")},
    {"iat": None},
    {"sub": "ada\n"},
    {"sub": "ada\u202e"},
    {"sub": "ada\u0000"},
    {"sub": ["ada"]},
    {"sub": {"ada": 1}},
    {"sub": True},
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
    "an error with status 400 beside a token": lambda: httpx.Response(
        400, json={"error": "x", "id_token": of_provider()}
    ),
    "a redirect": lambda: httpx.Response(302, headers={"location": "https://evil.example/token"}),
    "a list": lambda: httpx.Response(200, json=[{"id_token": of_provider()}]),
    "a list of tokens": lambda: httpx.Response(200, json={"access_token": "a", "id_token": [of_provider()]}),
    "a page": lambda: httpx.Response(200, text="<html>"),
    "an id token as an object": lambda: httpx.Response(
        200, json={"access_token": "a", "id_token": {"sub": "ada"}}
    ),
    "no id token": lambda: httpx.Response(200, json={"access_token": "a", "sub": "ada"}),
    "status 500 with a token": lambda: httpx.Response(
        500, json={"access_token": "a", "id_token": of_provider()}
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_another_answer_of_the_token_endpoint_is_refused(name: str) -> None:
    provider = provider_of("")

    async def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "login.example"
        return ANSWERS[name]() if request.url.path == "/token" else await provider(request)

    client = client_of(answer)
    assert isinstance(await client.exchange("code", code_verifier="v" * 64, nonce="nonce-1"), OidcFailure)
