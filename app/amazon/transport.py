"""httpx connection pools for Amazon."""

import ssl
from functools import cache

import httpcore
import httpx

from app.amazon.network import AsyncioBackend
from app.domain.destination import Region

MAX_REPLY_BYTES = 1_048_576
# A response may repeat every event of the request (contract §4.1). If such a response was refused, the
# request would be repeated endlessly.
ECHO = 2
CONNECTIONS = 12  # per region, for account and token calls; a worker sets its own limit for events


def open_pools(
    transport: httpx.AsyncBaseTransport | None, connections: int = CONNECTIONS
) -> dict[Region, httpx.AsyncBaseTransport]:
    """Open a separate pool for each region. A region that does not respond cannot use up another region's
    connections.

    If `transport` is given, every region uses `transport` instead.
    """
    if transport is not None:
        return dict.fromkeys(Region, transport)
    return {region: open_pool(_tls(), connections=connections) for region in Region}


@cache
def _tls() -> ssl.SSLContext:
    """Return the TLS context that all pools share. Each context would use up to 2 MB for certificates."""
    return httpx.create_ssl_context(trust_env=False)


def open_pool(
    tls: ssl.SSLContext, *, connections: int, keep_alive_s: float = 20.0
) -> httpx.AsyncHTTPTransport:
    """Open a pool of at most `connections` connections, without retries.

    Idle connections stay open for `keep_alive_s` seconds.
    """
    transport = httpx.AsyncHTTPTransport(verify=tls, trust_env=False)
    # httpx has no parameter for the backend of its pool.
    transport._pool = httpcore.AsyncConnectionPool(
        ssl_context=tls,
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=keep_alive_s,
        retries=0,
        network_backend=AsyncioBackend(),
    )
    return transport
