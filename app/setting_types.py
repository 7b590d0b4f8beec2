"""The types of settings. Each parses and checks the text of an environment variable."""

import base64
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qs, quote, unquote

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr

from app.crypto import KEY_BYTES, NamedKey
from app.domain.callback import read_secrets
from app.domain.notifications import read_emails, read_mail_server, read_webhooks, split_address
from app.domain.weak_secrets import MIN_LENGTH


def named_keys(text: str) -> tuple[NamedKey, ...]:
    """Parse `id:base64key,id:base64key`. Raises ValueError; its text contains no key."""
    keys: list[NamedKey] = []
    for position, part in enumerate(text.split(","), start=1):
        name, colon, encoded = part.strip().partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", name):
            raise ValueError(
                f"entry {position} must look like id:base64key, the id up to 32 of A-Z a-z 0-9 _ . -"
            )
        try:
            key = base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
        except ValueError:
            raise ValueError(f"entry {position}: the key is not base64") from None
        if len(key) != KEY_BYTES:
            raise ValueError(f"entry {position}: the key must be {KEY_BYTES} bytes long, not {len(key)}")
        keys.append(NamedKey(name, key))
    if len({key.id for key in keys}) != len(keys):
        raise ValueError("two entries have the same id")
    return tuple(keys)


_TLS_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


def _database_url(value: SecretStr) -> SecretStr:
    """Return the URL in SQLAlchemy's form. Raises ValueError; its text does not contain the URL."""
    address = re.sub(r"^postgres(ql)?(\+asyncpg)?://", "postgresql+asyncpg://", value.get_secret_value())
    parts = split_address(address)
    if parts.scheme != "postgresql+asyncpg" or not parts.path.strip("/"):
        raise ValueError("must look like postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE")
    for name, values in parse_qs(parts.query).items():
        if name in _TLS_FILES and not os.access(values[-1], os.R_OK):
            raise ValueError(f"{name} names a file that cannot be read")
    return SecretStr(address)


def _proxy(text: str) -> None:
    """Check the URL of a proxy. Raises ValueError; its text does not contain the URL."""
    parts = split_address(text)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("must look like http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")


def _certificates(path: Path) -> Path:
    with suppress(OSError):
        if b"-----BEGIN CERTIFICATE" in path.read_bytes():
            return path
    raise ValueError("must name a readable file with certificates (PEM)")


def _web_address(value: str) -> str:
    parts = split_address(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError("must be a plain address, without user, query or fragment")
    return value.rstrip("/")


def _admin_key(text: str) -> None:
    if not re.fullmatch(f"[!-~][ -~]{{{MIN_LENGTH - 2},1022}}[!-~]", text):
        raise ValueError(f"must have {MIN_LENGTH} to 1,024 ASCII characters, without a blank at either end")


def _checked_by(check: Callable[[str], object]) -> AfterValidator:
    """Return a validator of a secret setting. `check` raises ValueError for a wrong value."""

    def validate(value: SecretStr) -> SecretStr:
        check(value.get_secret_value())
        return value

    return AfterValidator(validate)


def _numbers(value: object) -> object:
    """Split `1,7` into its parts. pydantic then parses the numbers."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _write_numbers(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


_ROLES = ("viewer", "operator", "editor", "admin", "privacy", "platform")


def _role_groups(value: object) -> object:
    """Parse `admin=group-a,viewer=group-b` into pairs. A role may have several groups.

    A comma in a group is written `%2C`.
    """
    if not isinstance(value, str):
        return value
    pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
    if any(role not in _ROLES or not group for role, _, group in pairs):
        raise ValueError(f"must be role=group,…, with the roles {', '.join(_ROLES)}")
    return tuple((role, unquote(group)) for role, _, group in pairs)


def _write_role_groups(pairs: tuple[tuple[str, str], ...]) -> str:
    return ",".join(f"{role}={quote(group)}" for role, group in pairs)


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
EncryptionKeys = Annotated[SecretStr, _checked_by(named_keys)]
AdminKey = Annotated[SecretStr, _checked_by(_admin_key)]
CallbackSecrets = Annotated[SecretStr, _checked_by(read_secrets)]
WebhookChannels = Annotated[SecretStr, _checked_by(read_webhooks)]
MailChannels = Annotated[SecretStr, _checked_by(read_emails)]
MailServerUrl = Annotated[SecretStr, _checked_by(read_mail_server)]
ProxyUrl = Annotated[SecretStr, _checked_by(_proxy)]
CertificateFile = Annotated[Path, AfterValidator(_certificates)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Count = Annotated[int, Field(ge=1, le=64)]
Purposes = Annotated[
    tuple[Annotated[int, Field(ge=1, le=24)], ...],
    BeforeValidator(_numbers),
    PlainSerializer(_write_numbers),
    Field(min_length=1),
]
RoleGroups = Annotated[
    tuple[tuple[str, str], ...], BeforeValidator(_role_groups), PlainSerializer(_write_role_groups)
]
DatabaseRole = Literal["owner", "api", "worker", "backup"]
PortNumber = Annotated[int, Field(ge=1, le=65_535)]
