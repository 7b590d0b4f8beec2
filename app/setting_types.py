"""Types of settings: validation and parsing of variables."""

import base64
import binascii
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from app.crypto import KEY_BYTES, NamedKey
from app.domain.callback import read_secrets
from app.domain.notifications.channels import read_emails, read_mail_server, read_webhooks
from app.domain.weak_secrets import MIN_LENGTH


def named_keys(setting: SecretStr) -> tuple[NamedKey, ...]:
    """Parse `id:base64key,id:base64key`. Raises ValueError with a sentence that contains no key."""
    keys: list[NamedKey] = []
    for position, part in enumerate(setting.get_secret_value().split(","), start=1):
        name, colon, encoded = part.strip().partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", name):
            raise ValueError(
                f"entry {position} must look like id:base64key, the id up to 32 of A-Z a-z 0-9 _ . -"
            )
        try:
            key = base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"entry {position}: the key is not base64") from None
        if len(key) != KEY_BYTES:
            raise ValueError(f"entry {position}: the key must be {KEY_BYTES} bytes long, not {len(key)}")
        keys.append(NamedKey(name, key))
    if len({key.id for key in keys}) != len(keys):
        raise ValueError("two entries have the same id")
    return tuple(keys)


def database_address(value: SecretStr) -> SecretStr:
    address = re.sub(r"^postgres(ql)?(\+asyncpg)?://", "postgresql+asyncpg://", value.get_secret_value())
    parts = urlsplit(address)
    if parts.scheme != "postgresql+asyncpg" or not parts.path.strip("/"):
        raise ValueError("must look like postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE")
    return SecretStr(address)


def encryption_key_list(value: SecretStr) -> SecretStr:
    named_keys(value)
    return value


def callback_secret_list(value: SecretStr) -> SecretStr:
    read_secrets(value.get_secret_value())
    return value


def webhook_channels(value: SecretStr) -> SecretStr:
    read_webhooks(value.get_secret_value())
    return value


def mail_channels(value: SecretStr) -> SecretStr:
    read_emails(value.get_secret_value())
    return value


def mail_server(value: SecretStr) -> SecretStr:
    read_mail_server(value.get_secret_value())
    return value


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError("must be a plain address, without user, query or fragment")
    return value.rstrip("/")


def admin_key(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < MIN_LENGTH:
        raise ValueError(f"must have {MIN_LENGTH} characters or more")
    return value


def _numbers(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


_ROLES = ("viewer", "operator", "editor", "admin", "privacy", "platform")


def _role_groups(value: object) -> object:
    """Parse `admin=group-a,viewer=group-b`; a role may occur several times."""
    if not isinstance(value, str):
        return value
    pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
    if any(role not in _ROLES or not group for role, _, group in pairs):
        raise ValueError(f"must be role=group,…, with the roles {', '.join(_ROLES)}")
    return tuple((role, group) for role, _, group in pairs)


WebAddress = Annotated[str, AfterValidator(_web_address)]
Count = Annotated[int, Field(ge=1, le=64)]
Purposes = Annotated[tuple[Annotated[int, Field(ge=1, le=24)], ...], NoDecode, BeforeValidator(_numbers)]
RoleGroups = Annotated[tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_role_groups)]
DatabaseRole = Literal["owner", "api", "worker"]
PortNumber = Annotated[int, Field(ge=1, le=65_535)]
