"""Notifications about incidents: read the channels, decide which message is due, and write the message.

The decision compares the incident with the messages that the channel already got. So a restart sends no
message twice and loses none. A message contains codes, counts, times and the name of the destination: no
value of an event, and no text from Amazon. No error and no `repr` contains the address of a channel.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum
from typing import Any, Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from app.domain.callback import read_secrets
from app.domain.ids import DEFAULT_ORGANISATION
from app.domain.incidents.kinds import Kind, Severity
from app.domain.incidents.machine import Incident, IncidentState
from app.domain.quantity import quantity

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_ADDRESS: Final = re.compile(r"[^\s@<>,|\x00-\x1f]{1,64}@[^\s@<>,|\x00-\x1f]{1,255}")

ChannelType = Literal["webhook", "email"]


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of an organisation. `addresses` has one URL, or mail addresses; they are credentials."""

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
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or parts.path.strip("/"):
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
    """Yield position, organisation, name and value of `ops=…,ops@acme=…`. `%2C` stands for a comma."""
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


# --- Decisions ------------------------------------------------------------------------------------

SAME_MESSAGE_EVERY: Final = timedelta(minutes=10)
REMIND_EVERY: Final = timedelta(days=1)
MOST_MESSAGES: Final = 10  # per minute and channel; more incidents are sent as a digest
MOST_URGENT_DIGESTS: Final = 4  # per minute and channel, while critical incidents are due
MINUTE: Final = timedelta(minutes=1)
MOST_ITEMS: Final = 50  # per digest


class MessageType(StrEnum):
    OPENED = "incident.opened"
    RESOLVED = "incident.resolved"
    REMINDER = "incident.reminder"
    DIGEST = "incident.digest"


@dataclass(frozen=True, slots=True)
class Preference:
    """The notification settings of a destination. None stands for all channels, or for all kinds."""

    channels: frozenset[str] | None = None
    kinds: frozenset[Kind] | None = None
    min_severity: Severity = Severity.WARNING

    def includes(self, incident: Incident, channel: str) -> bool:
        """Return whether messages about an incident are sent to a channel."""
        kinds = {incident.kind, *incident.consequences}
        is_wanted = self.kinds is None or not self.kinds.isdisjoint(kinds)
        has_channel = self.channels is None or channel in self.channels
        return is_wanted and has_channel and incident.severity.rank >= self.min_severity.rank


@dataclass(frozen=True, slots=True)
class SentMessages:
    """The times at which a channel last got each type of message about one incident."""

    opened_at: datetime | None = None
    resolved_at: datetime | None = None
    reminded_at: datetime | None = None
    severity: Severity | None = None  # of the incident when the last `incident.opened` was sent

    @property
    def is_open(self) -> bool:
        """Whether the last message to the channel said that the incident is open."""
        opened, resolved = self.opened_at, self.resolved_at
        return opened is not None and (resolved is None or resolved < opened)


def due_message(incident: Incident, sent: SentMessages, now: datetime, *, muted: bool) -> MessageType | None:
    """Return the type of the message that is due, or None.

    `muted` means that a person, a maintenance window or a problem of the service suppresses messages. The
    message that an incident opened is sent at the earliest ten minutes after the last message that it opened
    or resolved, unless the severity rises. The message that it resolved is sent at the earliest ten minutes
    after the last message that it resolved. So a problem that comes and goes causes few messages. An incident
    that was merged into another one sends none, because its problem goes on there.
    """
    if muted or incident.merged_into is not None:
        return None
    if not incident.is_open:
        waits = sent.resolved_at is not None and now - sent.resolved_at < SAME_MESSAGE_EVERY
        return MessageType.RESOLVED if sent.is_open and not waits else None
    if sent.severity is not None and incident.severity.rank > sent.severity.rank:
        return MessageType.OPENED
    if not sent.is_open:
        # An acknowledged incident needs no announcement.
        acknowledged = incident.state is IncidentState.ACKNOWLEDGED
        last = max(filter(None, (sent.opened_at, sent.resolved_at)), default=None)
        waits = last is not None and now - last < SAME_MESSAGE_EVERY
        return None if waits or acknowledged else MessageType.OPENED
    last = max(filter(None, (sent.opened_at, sent.reminded_at)))
    if incident.state is IncidentState.OPEN and now - last >= REMIND_EVERY:
        return MessageType.REMINDER
    return None


@dataclass(frozen=True, slots=True)
class ChannelLoad:
    """How many messages and digests were created for a channel within the last minute."""

    messages: int = 0
    digests: int = 0


class Batching(StrEnum):
    """How to send the due messages of a channel: one each, as one digest, or later."""

    SINGLE = "single"
    DIGEST = "digest"
    WAIT = "wait"


def batching(due: Sequence[object], load: ChannelLoad, *, urgent: bool) -> Batching:
    """Return how to send due messages. More than ten in a minute are sent as one digest a minute.

    With `urgent` (a critical incident is due), several digests a minute are sent.
    """
    if load.messages + len(due) <= MOST_MESSAGES:
        return Batching.SINGLE
    return Batching.DIGEST if load.digests < (MOST_URGENT_DIGESTS if urgent else 1) else Batching.WAIT


# --- Texts ----------------------------------------------------------------------------------------

_VERBS: Final[Mapping[str, str]] = {
    MessageType.OPENED: "opened",
    MessageType.RESOLVED: "resolved",
    MessageType.REMINDER: "still open",
}
# Slack reads &, < and > as markup. Mattermost reads `code`, @all and links as markup: a zero-width space
# prevents @all and links.
_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@\u200b", "[": "[\u200b", "`": "'"}
)


def incident_text(type: str, incident: Mapping[str, Any]) -> str:
    """Return a line about an incident for a chat. `type` is a `MessageType` other than DIGEST."""
    text = f"{_head(type, incident, _escaped_subject(incident))}. {incident['summary']}"
    if incident["consequences"]:
        text += f" Consequences: {', '.join(incident['consequences'])}."
    if type != MessageType.RESOLVED:
        text += f" {incident['remedy']}"
    return f"{text} {incident['url']}"


def incident_body(type: MessageType, incident: Mapping[str, Any], now: datetime) -> bytes:
    """Return the JSON of a message about one incident."""
    text = incident_text(type, incident)
    return msgspec.json.encode({"type": type.value, "timestamp": now, "text": text, "data": dict(incident)})


def digest_body(items: Sequence[tuple[MessageType, Mapping[str, Any]]], now: datetime, *, url: str) -> bytes:
    """Return the JSON of a digest, the most severe incidents first.

    It counts all incidents, groups them by kind and remedy, and lists fifty: at least one of each group.
    """
    order = sorted(items, key=lambda item: (-Severity(item[1]["severity"]).rank, item[0], item[1]["kind"]))
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for type_, incident in order:
        key = (incident["severity"], incident["kind"], type_.value, incident["remedy"])
        groups.setdefault(key, []).append({"type": type_.value, **incident})
    firsts = [group[0] for group in groups.values()]
    others = [each for group in groups.values() for each in group[1:]]
    listed = [*firsts, *others][:MOST_ITEMS]
    opened = sum(type_ is MessageType.OPENED for type_, _ in items)
    resolved = sum(type_ is MessageType.RESOLVED for type_, _ in items)
    lines = [f"{quantity(len(items), 'incident')} changed: {opened:,} opened, {resolved:,} resolved."]
    lines += map(_group_line, groups.values())
    not_listed = len(items) - len(listed)
    return msgspec.json.encode(
        {
            "type": MessageType.DIGEST.value,
            "timestamp": now,
            "text": "\n".join([*lines, *_not_listed(not_listed), url]),
            "data": {
                "count": len(items),
                "items": listed,
                "not_listed": not_listed,
                "groups": [
                    {"severity": severity, "kind": kind, "type": type_, "remedy": remedy, "count": len(group)}
                    for (severity, kind, type_, remedy), group in groups.items()
                ],
                "url": url,
            },
        }
    )


def _group_line(group: Sequence[Mapping[str, Any]]) -> str:
    """Return a line about incidents with the same kind and remedy, with the first as example."""
    example = group[0]
    subject = _escaped_subject(example)
    subject = f"{len(group):,} incidents, such as {subject}" if len(group) > 1 else subject
    text = f"{_head(example['type'], example, subject)}. {example['summary']}"
    return text if example["type"] == MessageType.RESOLVED else f"{text} {example['remedy']}"


def _not_listed(number: int) -> list[str]:
    return [f"{quantity(number, 'incident is', 'incidents are')} not listed."] if number else []


def _head(type: str, incident: Mapping[str, Any], subject: str) -> str:
    return f"[{incident['severity']}] {incident['kind']} {_VERBS[type]}: {subject}"


def _plain_subject(incident: Mapping[str, Any]) -> str:
    return incident["destination_name"] or "the service"


def _escaped_subject(incident: Mapping[str, Any]) -> str:
    """Return what an incident is about, so that Slack and Mattermost show it as plain text."""
    return _plain_subject(incident).translate(_ESCAPES).replace("://", ":\u200b//")


def mail(
    body: bytes, *, message_id: str, sender: str, recipients: Sequence[str], now: datetime
) -> EmailMessage:
    """Return the mail for a message whose JSON is `body`."""
    content = msgspec.json.decode(body)
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id}@{sender.rpartition('@')[2].strip('> ') or 'localhost'}>"
    message["Auto-Submitted"] = "auto-generated"
    message["Subject"] = _subject(content)
    message.set_content("\n".join(_lines(content)) + "\n")
    return message


def _subject(content: Mapping[str, Any]) -> str:
    data = content["data"]
    if content["type"] == MessageType.DIGEST:
        kinds = ", ".join(dict.fromkeys(group["kind"] for group in data["groups"]))
        return f"[{data['groups'][0]['severity']}] {quantity(data['count'], 'incident')} changed: {kinds}"
    return _head(content["type"], data, _plain_subject(data))


def _lines(content: Mapping[str, Any]) -> list[str]:
    data = content["data"]
    if content["type"] == MessageType.DIGEST:
        lines = [
            f"{_head(item['type'], item, _plain_subject(item))}. {item['summary']}" for item in data["items"]
        ]
        text = content["text"].split("\n")[:-1]
        return [*text, "", *lines, *_not_listed(data["not_listed"]), "", data["url"]]
    return [
        data["summary"],
        "" if content["type"] == MessageType.RESOLVED else data["remedy"],
        "",
        f"Destination: {_plain_subject(data)}",
        f"Opened: {data['opened_at']}",
        *([f"Resolved: {data['resolved_at']}"] if data["resolved_at"] else []),
        *([f"Consequences: {', '.join(data['consequences'])}"] if data["consequences"] else []),
        f"Affected events: {data['affected_events']:,}",
        *([f"First event expires: {data['expires_at']}"] if data["expires_at"] else []),
        "",
        data["url"],
    ]
