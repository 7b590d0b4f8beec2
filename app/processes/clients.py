"""The clients of a process for the services of others, as the settings describe them.

Callers close them, except for the client of the status callbacks.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from app.amazon.client import EventsClient
from app.amazon.tokens import SignIn
from app.amazon.transport import CONNECTIONS
from app.delivery.callbacks import TIMEOUT_S, CallbackPost
from app.incidents.outbox import ChannelClients
from app.outbound import Outbound
from app.settings import Settings
from app.webhook_client import WebhookClient

if TYPE_CHECKING:
    from app.oidc_client import OidcClient

_NOW: Final = partial(datetime.now, UTC)


def outbound_of(settings: Settings) -> Outbound:
    """Return how requests leave the network of the operator."""
    proxy = settings.outbound_proxy
    hosts = settings.outbound_direct_hosts.split(",")
    return Outbound(
        None if proxy is None else proxy.get_secret_value(),
        tuple(host.strip().lower() for host in hosts if host.strip()),
        settings.outbound_ca_file,
    )


def events_client(settings: Settings, connections: int = CONNECTIONS) -> EventsClient:
    """Return the client of Amazon's API, with at most so many connections for each region."""
    return EventsClient(
        settings.amazon_client_id or "",
        settings.amazon_base_url,
        connections=connections,
        outbound=outbound_of(settings),
    )


def amazon_sign_in(settings: Settings) -> SignIn:
    """Return the client for signing in at Amazon.

    Without client id and secret, Amazon would refuse every sign-in, so the API checks for them first.
    """
    return SignIn(
        settings.amazon_client_id or "",
        settings.amazon_client_secret or SecretStr(""),
        f"{settings.public_url.rstrip('/')}/oauth/amazon/callback",
        settings.amazon_base_url,
        outbound=outbound_of(settings),
    )


def oidc_client(settings: Settings) -> "OidcClient | None":
    """Return the OpenID Connect client, or None if no provider is configured."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    # The packages that check tokens use 4 MB.
    from app.oidc_client import OidcClient

    secret = settings.oidc_client_secret
    return OidcClient(
        settings.oidc_issuer,
        settings.oidc_client_id,
        None if secret is None else secret.get_secret_value(),
        f"{settings.public_url.rstrip('/')}/console/oidc/callback",
        outbound=outbound_of(settings),
    )


def channel_clients(settings: Settings) -> ChannelClients:
    """Return the clients of all notification channels. The caller closes that of the webhooks."""
    server, sender = settings.mail_server, settings.smtp_from
    mails = None
    if server is not None and sender is not None:
        # The packages of mail use 1 MB.
        from app.mail_client import MailClient

        mails = MailClient(server, sender.get_secret_value(), now=_NOW, require_tls=settings.production)
    return ChannelClients(WebhookClient(now=_NOW, outbound=outbound_of(settings)), mails)


@asynccontextmanager
async def status_callbacks(settings: Settings) -> AsyncIterator[CallbackPost | None]:
    """Open the client that posts status callbacks to the journey engine; None if they are not configured."""
    if settings.status_callback_url is None:
        yield None
        return
    outbound = outbound_of(settings)
    client = WebhookClient(now=_NOW, timeout_s=TIMEOUT_S, connections=2, outbound=outbound)
    async with aclosing(client):
        yield partial(client.post, settings.status_callback_url, settings.callback_secrets)
