"""Encryption at rest with AES-256-GCM. A value can be decrypted only in the row that it was encrypted for."""

import base64
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from app.domain.batch import unpack_content
from app.domain.ids import BatchId

_NONCE = 12
KEY_BYTES = 32


class CannotDecrypt(Exception):
    """Decryption failed: the key is not configured, or the value was moved or altered."""


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A key of ENCRYPTION_KEYS. `id` has 1 to 32 ASCII characters and is stored in clear."""

    id: str
    key: bytes = field(repr=False)  # 32 bytes


def secret_digest(secret: str) -> bytes:
    """Return the digest that is stored for a key or a token: 256 random bits cannot be guessed."""
    return sha256(secret.encode()).digest()


def same_secret(ours: str | bytes, theirs: str | bytes) -> bool:
    """Return whether two secrets are equal, in a time that does not depend on where they differ."""
    left, right = (each.encode() if isinstance(each, str) else each for each in (ours, theirs))
    return hmac.compare_digest(left, right)


class Vault:
    """Encrypts with the first key and decrypts with any of the keys, so that keys can be rotated.

    A sealed value consists of the length of the key id (1 byte), the key id, the nonce (12 bytes), the
    ciphertext and the tag. `place` names the table, column and row of the value. It is authenticated, so a
    value that was copied to another row cannot be decrypted there.
    """

    def __init__(self, keys: Sequence[NamedKey]) -> None:
        if not keys:
            raise ValueError("at least one encryption key is needed")
        self.writes = keys[0].id  # the key that seals new values
        self._ciphers = {named.id: AESGCM(named.key) for named in keys}

    def seal(self, plain: bytes, *, place: str) -> bytes:
        """Encrypt `plain` for `place` with the first key."""
        name = self.writes.encode()
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self.writes].encrypt(nonce, plain, place.encode())
        return bytes((len(name),)) + name + nonce + sealed

    def open(self, sealed: bytes, *, place: str) -> bytes:
        """Decrypt a value that was sealed for `place`. Raises CannotDecrypt."""
        if (name := key_id_of(sealed)) is None:
            raise CannotDecrypt("too short to be a sealed value")
        rest, cipher = sealed[1 + sealed[0] :], self._ciphers.get(name)
        if cipher is None:
            raise CannotDecrypt(f"sealed under key {name!r}, which is not among ENCRYPTION_KEYS")
        try:
            return cipher.decrypt(rest[:_NONCE], rest[_NONCE:], place.encode())
        except InvalidTag:
            raise CannotDecrypt("altered, or sealed for another place") from None

    def unknown_key(self, sealed: bytes) -> str | None:
        """Return the id of the key that sealed a value, or None for a known key or a truncated value."""
        name = key_id_of(sealed)
        return None if name in self._ciphers else name


def key_id_of(sealed: bytes) -> str | None:
    """Return the id of the key that sealed a value, or None for a truncated value."""
    if len(sealed) < 2 + _NONCE or len(sealed) < 1 + sealed[0] + _NONCE:
        return None
    return sealed[1 : 1 + sealed[0]].decode("ascii", "replace")


class OpaqueTexts:
    """Ids and cursors that do not count: the numbers in them count the rows of all organisations.

    A text begins with its kind, such as `att_`. Equal numbers have equal texts (AES-SIV), so an id never
    changes. `secret` must not change either.
    """

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESSIV(hmac.digest(secret, b"opaque texts", "sha256"))

    def seal(self, plain: object, *, kind: str) -> str:
        """Encrypt the text of `plain`."""
        sealed = self._cipher.encrypt(str(plain).encode(), [kind.encode()])
        return f"{kind}_{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def open(self, text: str, *, kind: str) -> str:
        """Decrypt a text of this kind. Raises CannotDecrypt."""
        prefix, _, encoded = text.partition("_")
        if prefix != kind:
            raise CannotDecrypt("of another kind")
        try:
            sealed = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
            return self._cipher.decrypt(sealed, [kind.encode()]).decode()
        except (InvalidTag, ValueError):
            raise CannotDecrypt("altered, or of another kind") from None


def seal_batch(batch: BatchId, content: bytes, vault: Vault) -> tuple[bytes, bytes]:
    """Return a new random data key, sealed, and the content of a batch, encrypted with this key.

    Deleting the key makes the batch unreadable. The content becomes nonce (12 bytes), ciphertext and tag.
    """
    data_key, nonce, place = os.urandom(KEY_BYTES), os.urandom(_NONCE), batch_place(batch)
    encrypted = nonce + AESGCM(data_key).encrypt(nonce, content, place.encode())
    return vault.seal(data_key, place=place), encrypted


batch_place = "batch:{}".format
"""Returns the `place` of a batch. Its content and its data key are encrypted for this place."""


def open_batch(
    batch: BatchId, data_key: bytes | None, content: bytes | None, vault: Vault
) -> dict[int, bytes] | None:
    """Return the conversions of a batch by position. Return None if the batch cannot be decrypted."""
    if data_key is None or content is None:
        return None
    place = batch_place(batch)
    try:
        cipher = AESGCM(vault.open(data_key, place=place))
        return unpack_content(cipher.decrypt(content[:_NONCE], content[_NONCE:], place.encode()))
    except (CannotDecrypt, InvalidTag, ValueError):
        return None
