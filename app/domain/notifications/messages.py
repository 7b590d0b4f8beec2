"""Write the messages about incidents: JSON for webhooks, text for mail.

A message contains codes, counts, times and the name of the destination. It contains no value of an event and
no text from Amazon.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final

import msgspec

from app.domain.notifications.policy import MOST_ITEMS, MessageType

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


def escaped(name: str) -> str:
    """Escape a name, so that Slack and Mattermost show it as plain text."""
    return name.translate(_ESCAPES).replace("://", ":\u200b//")


def incident_text(type: str, incident: Mapping[str, Any]) -> str:
    """Return a line about an incident for a chat. `type` is a `MessageType` other than DIGEST."""
    name = incident["destination_name"]
    subject = "the service" if name is None else escaped(name)
    text = f"[{incident['severity']}] {incident['kind']} {_VERBS[type]}: {subject}. {incident['summary']}"
    if type != MessageType.RESOLVED:
        text += f" {incident['remedy']}"
    return f"{text} {incident['url']}"


def incident_body(type: MessageType, incident: Mapping[str, Any], now: datetime) -> bytes:
    """Return the JSON of a message about one incident."""
    text = incident_text(type, incident)
    return msgspec.json.encode({"type": type.value, "timestamp": now, "text": text, "data": dict(incident)})


def digest_body(items: Sequence[tuple[MessageType, Mapping[str, Any]]], now: datetime, *, url: str) -> bytes:
    """Return the JSON of a digest. It counts all incidents and lists the first fifty."""
    listed = [{"type": type_.value, **incident} for type_, incident in items[:MOST_ITEMS]]
    opened = sum(type_ is MessageType.OPENED for type_, _ in items)
    resolved = sum(type_ is MessageType.RESOLVED for type_, _ in items)
    text = f"{len(items)} incidents changed: {opened} opened, {resolved} resolved. {url}"
    return msgspec.json.encode(
        {
            "type": MessageType.DIGEST.value,
            "timestamp": now,
            "text": text,
            "data": {"count": len(items), "items": listed, "url": url},
        }
    )


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
        return f"{data['count']} incidents changed"
    name = data["destination_name"] or "the service"
    return f"[{data['severity']}] {data['kind']} {_VERBS[content['type']]}: {name}"


def _lines(content: Mapping[str, Any]) -> list[str]:
    data = content["data"]
    if content["type"] == MessageType.DIGEST:
        lines = [
            f"[{item['severity']}] {item['kind']} {_VERBS[item['type']]}: "
            f"{item['destination_name'] or 'the service'}. {item['summary']}"
            for item in data["items"]
        ]
        return [f"{data['count']} incidents changed.", "", *lines, "", data["url"]]
    return [
        data["summary"],
        "" if content["type"] == MessageType.RESOLVED else data["remedy"],
        "",
        f"Destination: {data['destination_name'] or 'the service'}",
        f"Opened: {data['opened_at']}",
        *([f"Resolved: {data['resolved_at']}"] if data["resolved_at"] else []),
        f"Affected events: {data['affected_events']}",
        *([f"First event expires: {data['expires_at']}"] if data["expires_at"] else []),
        "",
        data["url"],
    ]
