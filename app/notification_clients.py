"""Send notifications: signed webhooks over HTTP, and mail over SMTP.

Errors are codes without addresses, because an address is a credential.
"""

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Final, assert_never

import httpx

from app.domain import callback
from app.domain.callback import Acknowledged, NotAcknowledged
from app.domain.notifications.channels import Channel, MailServer
from app.domain.notifications.messages import mail

TIMEOUT_S: Final = 10.0
USER_AGENT: Final = "amazon-conversions-destination"
_MAIL_THREADS: Final = 4


class WebhookClient:
    """Posts messages. Follows no redirect, uses no proxy, reads no response body."""

    def __init__(
        self, *, now: Callable[[], datetime], transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._now = now
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(),
            transport=transport,
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
        )

    async def send(self, channel: Channel, id: str, body: bytes) -> Acknowledged | NotAcknowledged:
        """Send one message, signed with the current time; any 2xx acknowledges it."""
        signed = (
            callback.headers(channel.secrets, id=id, at=self._now(), body=body) if channel.secrets else {}
        )
        headers = {"content-type": "application/json", "user-agent": USER_AGENT, **signed}
        try:
            # httpx limits each read, not the complete exchange: a slow receiver could take forever.
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._client.stream("POST", channel.addresses[0], content=body, headers=headers) as response,
            ):
                if response.is_success:
                    return Acknowledged()
                return NotAcknowledged(f"status_{response.status_code}", _retry_after(response))
        except (TimeoutError, httpx.TimeoutException):
            return NotAcknowledged("timeout")
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
            return NotAcknowledged("unreachable")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class MailClient:
    """Sends messages as mail through one SMTP server, each over a separate connection."""

    def __init__(
        self,
        server: MailServer,
        sender: str,
        *,
        now: Callable[[], datetime],
        require_tls: bool,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._server = server
        self._sender = sender
        self._now = now
        self._require_tls = require_tls
        self._timeout_s = timeout_s
        # smtplib blocks; its few threads end after the timeout.
        self._threads = ThreadPoolExecutor(_MAIL_THREADS, thread_name_prefix="mail")

    async def send(self, channel: Channel, id: str, body: bytes) -> Acknowledged | NotAcknowledged:
        """Send one message to all addresses of a channel. It is acknowledged if the server accepted it."""
        opened: list[smtplib.SMTP] = []
        sending = asyncio.get_running_loop().run_in_executor(
            self._threads, self._send, opened, channel, id, body
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(sending)
        except TimeoutError:
            # A slow server resets the timeout of each read. Closing the socket ends the thread.
            for client in opened:
                client.close()
            return NotAcknowledged("timeout")

    def _send(
        self, opened: list[smtplib.SMTP], channel: Channel, id: str, body: bytes
    ) -> Acknowledged | NotAcknowledged:
        message = mail(
            body, message_id=id, sender=self._sender, recipients=channel.addresses, now=self._now()
        )
        try:
            client = self._connect()
            opened.append(client)
            try:
                self._secure(client)
                refused = client.send_message(message, self._sender, list(channel.addresses))
            finally:
                with suppress(smtplib.SMTPException, OSError):
                    client.quit()
        except smtplib.SMTPResponseException as error:
            return NotAcknowledged(f"smtp_{error.smtp_code}")
        except smtplib.SMTPRecipientsRefused:
            return NotAcknowledged("recipients_refused")
        except smtplib.SMTPNotSupportedError:
            return NotAcknowledged("tls_not_offered")
        except (smtplib.SMTPException, OSError, ValueError) as error:
            # smtplib reports a read that timed out as a disconnected server.
            timed_out = isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)
            return NotAcknowledged("timeout" if timed_out else "unreachable")
        # Some recipients were refused; the others have the message and must not get it twice.
        return (
            Acknowledged() if len(refused) < len(channel.addresses) else NotAcknowledged("recipients_refused")
        )

    def _connect(self) -> smtplib.SMTP:
        if self._server.implicit_tls:
            return smtplib.SMTP_SSL(
                self._server.host,
                self._server.port,
                timeout=self._timeout_s,
                context=ssl.create_default_context(),
            )
        return smtplib.SMTP(self._server.host, self._server.port, timeout=self._timeout_s)

    def _secure(self, client: smtplib.SMTP) -> None:
        """Start TLS if offered, and log in. In production, never send a password without TLS."""
        if not self._server.implicit_tls:
            client.ehlo_or_helo_if_needed()
            if client.has_extn("starttls"):
                client.starttls(context=ssl.create_default_context())
            elif self._require_tls:
                raise smtplib.SMTPNotSupportedError
        if self._server.user is not None:
            client.login(self._server.user, self._server.password or "")

    async def close(self) -> None:
        """Stop accepting messages."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class ChannelClients:
    """Sends each message with the client for its channel's type."""

    def __init__(self, webhooks: WebhookClient, mails: MailClient | None) -> None:
        self._webhooks = webhooks
        self._mails = mails

    async def send(self, channel: Channel, id: str, body: bytes) -> Acknowledged | NotAcknowledged:
        """Send one message."""
        match channel.type:
            case "webhook":
                return await self._webhooks.send(channel, id, body)
            case "email":
                if self._mails is None:
                    return NotAcknowledged("not_configured")
                return await self._mails.send(channel, id, body)
            case _:
                assert_never(channel.type)

    async def close(self) -> None:
        """Close both clients."""
        await self._webhooks.close()
        if self._mails is not None:
            await self._mails.close()


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 10 else None
