"""Sealing: AES-256-GCM under named keys, each sealed value bound to the place where it is kept."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
KEY_BYTES = 32


class CannotDecrypt(Exception):
    """A sealed value cannot be opened: its key is not configured, or it was moved or altered."""


@dataclass(frozen=True, slots=True, repr=False)
class NamedKey:
    """A key-encryption key: `id` is 1 to 32 ASCII characters and travels in clear; `key` is 32 bytes."""

    id: str
    key: bytes

    def __repr__(self) -> str:
        return f"NamedKey({self.id})"


class Vault:
    """Seals under the first key and opens under any of them, so that keys can be rotated.

    A sealed value is: length of the key id (1 byte), key id, nonce (12), ciphertext and tag.
    `place` says where it is kept (table, column, row) and is authenticated, so that a value
    copied into another row does not open there.
    """

    def __init__(self, keys: Sequence[NamedKey]) -> None:
        if not keys:
            raise ValueError("at least one encryption key is needed")
        self._writes = keys[0].id
        self._ciphers = {named.id: AESGCM(named.key) for named in keys}

    @property
    def writes(self) -> str:
        """Return the id of the key that new values are sealed under."""
        return self._writes

    def seal(self, plain: bytes, *, place: str) -> bytes:
        """Return `plain` sealed for `place` under the first key."""
        name = self._writes.encode()
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self._writes].encrypt(nonce, plain, place.encode())
        return bytes((len(name),)) + name + nonce + sealed

    def open(self, sealed: bytes, *, place: str) -> bytes:
        """Return what was sealed for `place`. Raises Unopenable."""
        name, rest = key_id_of(sealed), sealed[1 + sealed[0] :]
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise CannotDecrypt(f"sealed under key {name!r}, which is not among ENCRYPTION_KEYS")
        try:
            return cipher.decrypt(rest[:_NONCE], rest[_NONCE:], place.encode())
        except InvalidTag:
            raise CannotDecrypt("altered, or sealed for another place") from None


def key_id_of(sealed: bytes) -> str:
    """Return the id of the key a value was sealed under. Raises Unopenable on a torn value."""
    if len(sealed) < 2 + _NONCE or len(sealed) < 1 + sealed[0] + _NONCE:
        raise CannotDecrypt("too short to be a sealed value")
    return sealed[1 : 1 + sealed[0]].decode("ascii", "replace")


def new_data_key() -> bytes:
    """Return a fresh key for one batch; deleting it makes the batch unreadable for ever."""
    return os.urandom(KEY_BYTES)


def encrypt(data_key: bytes, plain: bytes, *, place: str) -> bytes:
    """Return `plain` under a data key, bound to its place: nonce (12), ciphertext and tag."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(data_key).encrypt(nonce, plain, place.encode())


def decrypt(data_key: bytes, locked: bytes, *, place: str) -> bytes:
    """Return what was locked under this data key for this place. Raises Unopenable."""
    try:
        return AESGCM(data_key).decrypt(locked[:_NONCE], locked[_NONCE:], place.encode())
    except (InvalidTag, ValueError):
        raise CannotDecrypt("altered, torn, or locked under another key") from None


def batch_place(batch: int) -> str:
    """Return the place that a batch's content and its data key are bound to."""
    return f"batch:{batch}"
