"""httpx connection pools for Amazon."""

import ssl

import httpcore
import httpx

from app.amazon.network import AsyncioBackend
from app.amazon.wire import endpoints
from app.domain.destination import Region
from app.outbound import Outbound

MAX_REPLY_BYTES = 1_048_576
# A response may repeat every event of the request (contract §4.1). If such a response was refused, the
# request would be repeated endlessly.
ECHO = 2
CONNECTIONS = 12  # per region, for account and token calls; a worker sets its own limit for events


def open_pools(
    transport: httpx.AsyncBaseTransport | None,
    base_url: str | None,
    outbound: Outbound,
    connections: int = CONNECTIONS,
) -> dict[Region, httpx.AsyncBaseTransport]:
    """Open a separate pool for each region. A region that does not respond cannot use up another region's
    connections.

    If `transport` is given, every region uses `transport` instead.
    """
    if transport is not None:
        return dict.fromkeys(Region, transport)
    return {
        region: open_pool(
            outbound.tls(),
            connections=connections,
            proxy=outbound.proxy_of(endpoints(region, base_url).api),
        )
        for region in Region
    }


def open_pool(
    tls: ssl.SSLContext,
    *,
    connections: int,
    keep_alive_s: float = 20.0,
    proxy: httpcore.Proxy | None = None,
) -> httpx.AsyncHTTPTransport:
    """Open a pool of at most `connections` connections, without retries.

    Idle connections stay open for `keep_alive_s` seconds.
    """
    transport = httpx.AsyncHTTPTransport(verify=tls, trust_env=False)
    # httpx has no parameter for the backend of its pool.
    transport._pool = httpcore.AsyncConnectionPool(
        ssl_context=tls,
        proxy=proxy,
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=keep_alive_s,
        retries=0,
        network_backend=AsyncioBackend(),
    )
    return transport
