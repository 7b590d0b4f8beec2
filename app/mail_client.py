"""Send notifications as mail over SMTP. A failure is reported as a code, which never contains an address."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from aiosmtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException

from app.domain.callback import Acknowledged, NotAcknowledged
from app.domain.notifications import Channel, MailServer, mail
from app.webhook_client import TIMEOUT_S

_QUIT_S: Final = 2.0


@dataclass(frozen=True, slots=True, repr=False)
class MailClient:
    """Sends messages as mail through one SMTP server. Each message uses a new connection."""

    server: MailServer
    sender: str
    now: Callable[[], datetime]
    require_tls: bool
    timeout_s: float = TIMEOUT_S
    # Created once, because it takes 15 ms to read the certificates of the system.
    _tls: ssl.SSLContext = field(init=False, default_factory=ssl.create_default_context)

    async def send(self, channel: Channel, id: str, body: bytes) -> Acknowledged | NotAcknowledged:
        """Send one message to all addresses of a channel.

        It is acknowledged if the server accepted it for at least one address.
        """
        client = SMTP(
            hostname=self.server.host,
            port=self.server.port,
            use_tls=self.server.implicit_tls,
            start_tls=False,  # `_exchange` decides
            tls_context=self._tls,
            timeout=self.timeout_s,
        )
        try:
            # The timeout of the library limits each read. A slow server must not exceed this one in all.
            async with asyncio.timeout(self.timeout_s):
                return await self._exchange(client, channel, id, body)
        except SMTPResponseException as error:
            return NotAcknowledged(f"smtp_{error.code}")
        except SMTPRecipientsRefused:
            return NotAcknowledged("recipients_refused")
        except TimeoutError:
            return NotAcknowledged("timeout")
        except (SMTPException, OSError, ValueError):
            return NotAcknowledged("unreachable")
        finally:
            with suppress(SMTPException, OSError):
                async with asyncio.timeout(_QUIT_S):
                    await client.quit()
            client.close()

    async def _exchange(
        self, client: SMTP, channel: Channel, id: str, body: bytes
    ) -> Acknowledged | NotAcknowledged:
        """Connect, start TLS if the server offers it, log in and send the message."""
        await client.connect()
        if not self.server.implicit_tls:
            await client.ehlo()
            if client.supports_extension("starttls"):
                await client.starttls()
            elif self.require_tls:
                return NotAcknowledged("tls_not_offered")
        if self.server.user is not None:
            await client.login(self.server.user, self.server.password or "")
        message = mail(body, message_id=id, sender=self.sender, recipients=channel.addresses, now=self.now())
        refused, _ = await client.send_message(
            message, sender=self.sender, recipients=list(channel.addresses)
        )
        # If only some addresses were refused, the others have the message and must not get it twice.
        is_accepted = len(refused) < len(channel.addresses)
        return Acknowledged() if is_accepted else NotAcknowledged("recipients_refused")
