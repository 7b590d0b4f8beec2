"""Read the settings of notification channels, such as `NOTIFY_WEBHOOKS="ops=https://…,ops@acme=https://…"`.

Entries `name=value` or `name@organisation=value` are separated by commas. A comma in an address is written
`%2C`. Addresses are credentials, so no error and no `repr` contains an address.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from app.domain.callback import read_secrets
from app.domain.ids import DEFAULT_ORGANISATION

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_ADDRESS: Final = re.compile(r"[^\s@<>,|\x00-\x1f]{1,64}@[^\s@<>,|\x00-\x1f]{1,255}")
SMTP_SCHEMES: Final = ("smtp", "smtps")

ChannelType = Literal["webhook", "email"]


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of an organisation. `addresses` has one URL, or mail addresses."""

    organisation: str
    name: str
    type: ChannelType
    addresses: tuple[str, ...] = field(repr=False)
    secrets: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def key(self) -> str:
        """The name of the channel in the database. The type follows the name unless it is a webhook."""
        return self.name if self.type == "webhook" else f"{self.name} ({self.type})"


@dataclass(frozen=True, slots=True)
class DeclaredChannel:
    """A channel that some process has. `key` is the key of the channel; see `Channel.key`."""

    organisation: str
    key: str

    @property
    def name(self) -> str:
        """The name without the type."""
        return self.key.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class MailServer:
    """The SMTP server. `implicit_tls` is True for `smtps://`. `smtp://` uses STARTTLS if it is offered."""

    host: str
    port: int
    implicit_tls: bool
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


def read_webhooks(text: str, secrets: str = "") -> tuple[Channel, ...]:
    """Read the webhooks and the secrets for signing, which have the same names.

    Raises ValueError; its text contains no value.
    """
    signing: dict[tuple[str, str], list[bytes]] = {}
    for position, organisation, name, value in _entries(secrets):
        try:
            signing.setdefault((organisation, name), []).extend(read_secrets(value))
        except ValueError:
            why = "the secret must be whsec_ and base64 of 24 to 64 bytes"
            raise ValueError(f"entry {position}: {why}") from None
    found = []
    for position, organisation, name, url in _entries(text):
        try:
            parts = split_address(url)
        except ValueError as error:
            raise ValueError(f"entry {position} {error}") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.fragment:
            why = "must be an http:// or https:// address without user or fragment"
            raise ValueError(f"entry {position} {why}")
        keys = tuple(signing.pop((organisation, name), ()))
        found.append(Channel(organisation, name, "webhook", (url,), keys))
    if signing:
        names = ", ".join(sorted(f"{name}@{organisation}" for organisation, name in signing))
        raise ValueError(f"no webhook has the name {names}")
    return _distinct(found)


def read_emails(text: str) -> tuple[Channel, ...]:
    """Read mail channels such as `ops=a@example.com|b@example.com`.

    Raises ValueError; its text contains no value.
    """
    found = []
    for position, organisation, name, value in _entries(text):
        addresses = tuple(unquote(part.strip()) for part in value.split("|"))
        if not all(map(_ADDRESS.fullmatch, addresses)):
            raise ValueError(f"entry {position} must contain mail addresses separated by |")
        found.append(Channel(organisation, name, "email", addresses))
    return _distinct(found)


def read_mail_server(url: str) -> MailServer:
    """Read `smtp://USER:PASSWORD@HOST:PORT` or `smtps://…`. Raises ValueError; its text contains no value."""
    parts = split_address(url)
    if parts.scheme not in SMTP_SCHEMES or not parts.hostname or parts.path.strip("/"):
        raise ValueError("must look like smtp://USER:PASSWORD@HOST:PORT or smtps://…")
    implicit = parts.scheme == "smtps"
    return MailServer(
        host=parts.hostname,
        port=parts.port or (465 if implicit else 587 if parts.username else 25),
        implicit_tls=implicit,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


def split_address(url: str) -> SplitResult:
    """Split a URL, and check the port of each server. Raises ValueError; its text contains no value."""
    try:
        parts = urlsplit(url)
        ports = [urlsplit(f"//{server}").port for server in parts.netloc.rpartition("@")[2].split(",")]
    except ValueError:
        ports = [0]
    if 0 in ports:
        raise ValueError("has an invalid host or port")
    return parts


def _entries(text: str) -> Iterator[tuple[int, str, str, str]]:
    parts = [part.strip() for part in text.split(",")]
    for position, part in enumerate(filter(None, parts), start=1):
        label, equals, value = part.partition("=")
        name, at, organisation = label.strip().partition("@")
        names = (name, organisation) if at else (name, DEFAULT_ORGANISATION)
        if not equals or not value.strip() or not all(map(_NAME.fullmatch, names)):
            raise ValueError(f"entry {position} must look like name=value or name@organisation=value")
        yield position, names[1], names[0], value.strip()


def _distinct(channels: list[Channel]) -> tuple[Channel, ...]:
    if len({(channel.organisation, channel.name) for channel in channels}) != len(channels):
        raise ValueError("two entries have the same name")
    return tuple(channels)
