"""Secrets that anybody can guess are found; random ones never are."""

import base64
import secrets

import pytest

from app.domain.weak_secrets import is_weak_key, is_weak_password
from tests.tables import cases


@cases(
    "key",
    {
        "zero": bytes(32),
        "one byte": b"\xff" * 32,
        "counted up": bytes(range(32)),
        "counted down": bytes(range(255, 223, -1)),
        "counted in steps": bytes(range(0, 256, 8)),
        "half a key twice": secrets.token_bytes(16) * 2,
        "a piece again and again": secrets.token_bytes(10) * 4,
        "hexadecimal text": b"0123456789abcdef0123456789abcdef",
        "typed text": b"a-passphrase-that-somebody-typed",
    },
)
def test_a_key_that_is_not_random_is_weak(key: bytes) -> None:
    """Production does not start with it."""
    assert is_weak_key(key[:32])


@pytest.mark.parametrize(
    "text",
    [
        "short-but-Random-8f2K1",
        "a" * 40,
        "abcdefghi" * 8,
        "change-me-change-me-change-me-change-me",
        "change-me-please-change-me-now-please",
        "password1234567890password123456789",
        "example-admin-key-example-admin-key-1",
        "your-secret-admin-key-change-this-please",
        "0123456789abcdefghijklmnopqrstuvwxyz",
    ],
)
def test_a_password_from_an_example_is_weak(text: str) -> None:
    """However long it is."""
    assert is_weak_password(text)


def test_random_secrets_are_never_weak() -> None:
    """Neither the key nor what `openssl rand` prints of it."""
    for _ in range(500):
        key = secrets.token_bytes(32)
        assert not is_weak_key(key)
        assert not is_weak_password(base64.b64encode(key).decode())
        assert not is_weak_password(key.hex())


def test_words_beside_enough_else_do_no_harm() -> None:
    """A prefix that says what the key is for."""
    assert not is_weak_password("bootstrap-admin-key-for-" + "9Jx2mQv7Lr4TzWc8")
