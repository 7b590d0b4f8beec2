"""Channels that hang, refuse, redirect or drip, and mail to a real SMTP server."""

import asyncio
import json
import logging
import ssl
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.callback import Acknowledged, NotAcknowledged
from app.domain.notifications import Channel, read_emails, read_mail_server, read_webhooks
from app.incidents.outbox import ChannelClients
from app.mail_client import MailClient
from app.webhook_client import WebhookClient
from dev.postgres.postmaster import free_port
from tests.incidents.conftest import Watch
from tests.incidents.receivers import SECRET, webhook_receiver
from tests.listening import Heard, listening

BODY = json.dumps(
    {
        "type": "incident.opened",
        "timestamp": "2026-11-24T12:00:00Z",
        "text": "t",
        "data": {
            "destination_name": "Ächme\u200b US",
            "severity": "critical",
            "kind": "failing",
            "summary": "10 of 10 requests to Amazon failed.",
            "remedy": "Check Amazon's status page.",
            "opened_at": "2026-11-24T12:00:00Z",
            "resolved_at": None,
            "affected_events": 3,
            "expires_at": None,
            "consequences": [],
            "url": "http://ours.test/console/incidents/inc_1",
        },
    }
).encode()


def now() -> datetime:
    return datetime.now(UTC)


def mail_channel() -> Channel:
    return read_emails("ops=a@example.com|b@example.com")[0]


async def test_a_receiver_gets_no_cookie_of_another() -> None:
    """Channels of several organisations may name the same host, such as that of a chat."""
    cookies = []

    async def set_cookie(heard: Heard, writer: asyncio.StreamWriter) -> None:
        cookies.append(heard.headers.get("cookie"))
        writer.write(b"HTTP/1.1 204 No Content\r\nset-cookie: of=one; path=/\r\n\r\n")
        await writer.drain()

    async with listening(set_cookie) as listener:
        client = WebhookClient(now=now)
        for number in range(2):
            assert await client.post(f"{listener.url}/{number}", (), "m", BODY) == Acknowledged()
        await client.aclose()
    assert cookies == [None, None]


@pytest.mark.parametrize(
    ("status", "header", "reply"),
    [
        (204, b"set-cookie: a=b; expires=Mon, 01-Jan-" + b"9" * 5_000 + b" 00:00:00 GMT", Acknowledged()),
        (302, b"location: http://[::1/", NotAcknowledged("status_302")),
        (307, b"location: gopher:x", NotAcknowledged("status_307")),
        (308, b"location: http://xn--a.xn--a/", NotAcknowledged("status_308")),
    ],
)
async def test_headers_that_cannot_be_read_change_no_reply(
    status: int, header: bytes, reply: Any, recwarn: pytest.WarningsRecorder
) -> None:
    """Cookies and the targets of redirects are not used, so they are not parsed."""

    async def answer(_heard: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n%b\r\n\r\n" % (status, header))
        await writer.drain()

    async with listening(answer) as listener:
        client = WebhookClient(now=now)
        assert await client.post(listener.url, (), "m", BODY) == reply
        await client.aclose()
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    ("mode", "reply"),
    [
        ("ok", Acknowledged()),
        ("refuse", NotAcknowledged("status_500")),
        ("redirect", NotAcknowledged("status_302")),
        ("hang", NotAcknowledged("timeout")),
        ("drip", NotAcknowledged("timeout")),
    ],
)
async def test_a_webhook_is_acknowledged_or_named_by_a_word(mode: str, reply: Any) -> None:
    """No redirect is followed, and no receiver holds a delivery for longer than the time-out.

    Callbacks have the same client, and a lease of 60 s, so no call may last longer.
    """
    async with webhook_receiver(mode) as receiver:
        (channel,) = read_webhooks(f"ops={receiver.url}", f"ops={SECRET}")
        clients = ChannelClients(WebhookClient(now=now, timeout_s=1.0), None)
        began = time.monotonic()
        assert await clients.send(channel, "msg_1", BODY) == reply
        assert time.monotonic() - began < 5
        assert receiver.requests == 1
        await clients.webhooks.aclose()


async def test_a_failing_channel_delays_no_other_and_leaks_no_address(
    watch: Watch, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One channel hangs; the other gets its message at once. The first gets it after its cure."""
    monkeypatch.setattr(watch.clients.webhooks, "timeout_s", 2.0)
    caplog.set_level(logging.DEBUG)
    for noisy in ("httpx", "httpcore"):
        caplog.set_level(logging.WARNING, logger=noisy)  # as `configure_logging` does
    async with webhook_receiver("hang") as hanging:
        delivery = watch.add_webhook("slow", hanging)
        await watch.world.destination()
        await watch.world.fetch("UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked'")
        await watch.monitor.run()
        stuck = asyncio.create_task(delivery.run())
        await watch.delivery.run()
        assert not stuck.done()
        assert len(watch.receiver.messages) == 1
        await stuck
        (health,) = await watch.world.fetch("SELECT * FROM notification_channels WHERE name = 'slow'")
        assert (health["last_error"], health["last_success_at"]) == ("timeout", None)
        # Fifteen minutes later the channel is an incident of its own.
        await watch.world.fetch(
            "UPDATE notification_channels SET failing_since = now() - interval '16 minutes' "
            "WHERE name = 'slow'"
        )
        assert "slow" in (await watch.until_open("notifications_failing"))["summary"]
        hanging.mode = "ok"
        await watch.world.fetch("UPDATE notifications SET due_at = now(), leased_until = NULL")
        await delivery.run()
        assert {message["data"]["kind"] for message in hanging.messages} >= {"sign_in_lost"}
        await watch.resolved("notifications_failing")
    assert "secret-path" not in (caplog.text + str([vars(record) for record in caplog.records]))


async def test_a_webhook_and_a_mail_channel_of_one_name_both_get_the_message(watch: Watch) -> None:
    """A destination that selects the name selects both."""
    watch.add(mail_channel())
    destination = await watch.world.destination()
    await watch.world.fetch(
        "INSERT INTO destination_alerting (organisation_id, destination, channels) "
        "VALUES ('default', $1, '{ops}')",
        destination,
    )
    await watch.world.fetch("UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked'")
    await watch.monitor.run()
    rows = await watch.world.fetch("SELECT channel FROM notifications ORDER BY channel")
    assert [row["channel"] for row in rows] == ["ops", "ops (email)"]
    await watch.delivery.run()
    assert len(watch.receiver.messages) == 1
    left = await watch.world.fetch("SELECT channel FROM notifications WHERE finished_at IS NULL")
    assert [row["channel"] for row in left] == ["ops (email)"]


async def test_a_message_is_dropped_after_a_day(watch: Watch) -> None:
    """Its channel may still work for others."""
    watch.receiver.mode = "refuse"
    await watch.world.destination()
    await watch.world.fetch("UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked'")
    await watch.tick()
    assert (await watch.world.fetch("SELECT tries FROM notifications"))[0]["tries"] == 1
    await watch.world.fetch(
        "UPDATE notifications SET created_at = now() - interval '25 hours', due_at = now()"
    )
    await watch.delivery.run()
    assert await watch.world.fetch("SELECT FROM notifications WHERE finished_at IS NULL") == []


async def test_mail_arrives_at_a_real_smtp_server() -> None:
    """With subject, text and both recipients; the same message keeps its id when it is sent again."""
    controllers = pytest.importorskip("aiosmtpd.controller")
    handlers = pytest.importorskip("aiosmtpd.handlers")
    kept: list[Any] = []

    class Sink(handlers.Message):  # type: ignore[misc, name-defined]
        def handle_message(self, message: Any) -> None:
            kept.append(message)

    port = free_port()
    controller = controllers.Controller(Sink(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        server = read_mail_server(f"smtp://127.0.0.1:{port}")
        client = MailClient(server, "ops@ours.test", now=now, require_tls=False)
        clients = ChannelClients(WebhookClient(now=now), client)
        assert await clients.send(mail_channel(), "msg_1", BODY) == Acknowledged()
        (message,) = kept
        assert message["X-RcptTo"] == "a@example.com, b@example.com"
        assert message["Message-ID"] == "<msg_1@ours.test>"
        assert "failing opened" in message["Subject"]
        assert b"10 of 10 requests" in message.get_payload(decode=True)
        await clients.webhooks.aclose()
        strict = MailClient(server, "ops@ours.test", now=now, require_tls=True)
        assert await strict.send(mail_channel(), "msg_2", BODY) == NotAcknowledged("tls_not_offered")
    finally:
        controller.stop()


async def test_the_certificates_of_the_system_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read them takes 15 ms, in which the event loop answers no request."""
    contexts: list[ssl.SSLContext] = []
    load = ssl.SSLContext.load_default_certs

    def count(context: ssl.SSLContext, purpose: ssl.Purpose) -> None:
        contexts.append(context)
        load(context, purpose)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", count)
    server = read_mail_server(f"smtps://127.0.0.1:{free_port()}")
    client = MailClient(server, "ops@ours.test", now=now, require_tls=True)
    for _ in range(2):
        assert await client.send(mail_channel(), "msg_1", BODY) == NotAcknowledged("unreachable")
    (context,) = contexts
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("greeting", "why"), [(b"", "timeout"), (b"421 busy\r\n", "smtp_421"), (b"x", "timeout")]
)
async def test_a_mail_server_that_hangs_or_refuses_is_named_by_a_word(greeting: bytes, why: str) -> None:
    """The time-out limits the whole delivery, also when the server sends a byte now and then."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        for _ in range(100):
            await asyncio.sleep(0.1)
            if greeting == b"x":
                writer.write(b"x")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = MailClient(
        read_mail_server(f"smtp://127.0.0.1:{port}"),
        "ops@ours.test",
        now=now,
        require_tls=False,
        timeout_s=1.0,
    )
    began = time.monotonic()
    assert await client.send(mail_channel(), "msg_1", BODY) == NotAcknowledged(why)
    assert time.monotonic() - began < 4
    server.close()
