"""Send notifications to people: by webhook, and by mail over SMTP.

A failure is reported as a code. The code never contains the address, because a webhook's URL is a credential.
"""

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from app.domain.callback import Acknowledged, NotAcknowledged
from app.domain.notifications.channels import Channel, MailServer
from app.domain.notifications.messages import mail
from app.webhook_client import TIMEOUT_S, WebhookClient

_MAIL_THREADS: Final = 4


class MailClient:
    """Sends messages as mail through one SMTP server. Each message uses a new connection."""

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
        # smtplib blocks, so it runs in threads. `send` ends a thread after the timeout.
        self._threads = ThreadPoolExecutor(_MAIL_THREADS, thread_name_prefix="mail")

    async def send(self, channel: Channel, id: str, body: bytes) -> Acknowledged | NotAcknowledged:
        """Send one message to all addresses of a channel.

        It is acknowledged if the server accepted it for at least one address.
        """
        opened: list[smtplib.SMTP] = []
        sending = asyncio.get_running_loop().run_in_executor(
            self._threads, self._send, opened, channel, id, body
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(sending)
        except TimeoutError:
            # smtplib limits only each read, so a slow server would keep the thread busy. Close its socket.
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
        # If only some addresses were refused, the others have the message and must not get it twice.
        is_accepted = len(refused) < len(channel.addresses)
        return Acknowledged() if is_accepted else NotAcknowledged("recipients_refused")

    def _connect(self) -> smtplib.SMTP:
        host, port = self._server.host, self._server.port
        if self._server.implicit_tls:
            tls = ssl.create_default_context()
            return smtplib.SMTP_SSL(host, port, timeout=self._timeout_s, context=tls)
        return smtplib.SMTP(host, port, timeout=self._timeout_s)

    def _secure(self, client: smtplib.SMTP) -> None:
        """Start TLS if the server offers it, then log in.

        Raises SMTPNotSupportedError if TLS is required (in production) and not offered.
        """
        if not self._server.implicit_tls:
            client.ehlo_or_helo_if_needed()
            if client.has_extn("starttls"):
                client.starttls(context=ssl.create_default_context())
            elif self._require_tls:
                raise smtplib.SMTPNotSupportedError
        if self._server.user is not None:
            client.login(self._server.user, self._server.password or "")

    async def close(self) -> None:
        """Cancel the messages that wait for a thread, and accept no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@dataclass(eq=False, repr=False)
class ChannelClients:
    """Sends messages to channels: by webhook or by mail, as the channel's type requires."""

    webhooks: WebhookClient
    mails: MailClient | None

    async def send(self, channel: Channel, id: str, body: bytes) -> Acknowledged | NotAcknowledged:
        """Send one message. Network errors are returned, not raised."""
        match channel.type:
            case "webhook":
                return await self.webhooks.post(channel.addresses[0], channel.secrets, id, body)
            case "email":
                if self.mails is None:
                    return NotAcknowledged("not_configured")
                return await self.mails.send(channel, id, body)
            case _:
                assert_never(channel.type)

    async def close(self) -> None:
        """Close both clients."""
        await self.webhooks.close()
        if self.mails is not None:
            await self.mails.close()
