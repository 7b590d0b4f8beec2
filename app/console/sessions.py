"""Who sits at the console: a session in a cookie, the key behind it, and the role that its scopes make.

The cookie holds a random token and no meaning; the database keeps the token's digest. What a visitor may do
is what the key may do at this moment, so that revoking the key ends its sessions too. People who come through
an identity provider later get a session of the same kind, with a role in place of a key.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from app.admin.access import BOOTSTRAP, Caller, Scope
from app.admin.context import AppContext
from app.api.headers import address_parts
from app.domain.ids import KeyId
from app.store import sessions

# From the least to the most. A role is held when every scope of it is.
ROLES: tuple[tuple[str, frozenset[Scope]], ...] = (
    ("viewer", frozenset({Scope.DESTINATIONS_READ, Scope.EVENTS_READ})),
    ("operator", frozenset({Scope.DESTINATIONS_READ, Scope.EVENTS_READ, Scope.EVENTS_WRITE, Scope.REPLAY})),
    (
        "editor",
        frozenset(
            {
                Scope.DESTINATIONS_READ,
                Scope.DESTINATIONS_WRITE,
                Scope.EVENTS_READ,
                Scope.EVENTS_WRITE,
                Scope.REPLAY,
            }
        ),
    ),
    ("admin", frozenset(Scope)),
)


@dataclass(frozen=True, slots=True, repr=False)
class Visitor:
    """A person with a session. `csrf` is what every form of theirs must carry."""

    caller: Caller
    name: str
    role: str
    since: datetime
    csrf: str


def role_of(scopes: frozenset[str]) -> str | None:
    """Return the highest role that these scopes make, or None when they do not open the console."""
    held = [name for name, needed in ROLES if needed <= scopes]
    return held[-1] if held else None


def is_secure(context: AppContext) -> bool:
    """Return whether people reach the console over TLS; on http, which only development has, they do not."""
    return context.public_url.startswith("https://")


def cookie_name(context: AppContext) -> str:
    """Return the cookie's name. `__Host-` makes browsers hold it to this host, over TLS only."""
    return "__Host-console" if is_secure(context) else "console"


def digest_of(token: str) -> bytes:
    """Return what is kept of a token. A plain hash suffices: 256 random bits cannot be guessed."""
    return hashlib.sha256(token.encode()).digest()


def csrf_of(token: str) -> str:
    """Return what a session's forms carry: made from the token, and no way back to it."""
    return hmac.new(token.encode(), b"console form", hashlib.sha256).hexdigest()


async def begin(context: AppContext, response: Response, key_digest: bytes) -> None:
    """Begin a session for the key with this digest, and put its token into the response's cookie.

    Lax, not Strict: coming back from Amazon's sign-in is a visit from another site. Nothing is changed by a
    GET, and every POST must name its origin and carry the session's form token.
    """
    token = secrets.token_urlsafe(32)
    async with context.engine.begin() as connection:
        await sessions.begin(connection, digest_of(token), key_digest)
    response.set_cookie(
        cookie_name(context),
        token,
        path="/",
        secure=is_secure(context),
        httponly=True,
        samesite="lax",
        max_age=int(sessions.ABSOLUTE.total_seconds()),
    )


async def end(context: AppContext, request: Request, response: Response) -> None:
    """End the request's session here and in the browser."""
    token = request.cookies.get(cookie_name(context))
    if token:
        async with context.engine.begin() as connection:
            await sessions.end(connection, digest_of(token))
    response.delete_cookie(
        cookie_name(context), path="/", secure=is_secure(context), httponly=True, samesite="lax"
    )


async def visitor_of(context: AppContext, request: Request, *, note: bool = True) -> Visitor | None:
    """Return who sends this request, or None: no session, past its limits, or its key may no longer.

    `note` says whether the request counts as use, which puts the end of an idle session off.
    """
    token = request.cookies.get(cookie_name(context))
    if not token or len(token) > 100:
        return None
    async with context.engine.begin() as connection:
        held = await sessions.find(connection, digest_of(token), note=note)
    if held is None:
        return None
    caller, name = _caller(context, held)
    role = None if caller is None else role_of(caller.scopes)
    if caller is None or role is None:
        return None
    return Visitor(caller, name, role, held.created_at, csrf_of(token))


def _caller(context: AppContext, held: sessions.StoredSession) -> tuple[Caller | None, str]:
    bootstrap = context.bootstrap_key_digest
    if bootstrap is not None and hmac.compare_digest(held.key_digest, bootstrap):
        return Caller(BOOTSTRAP, frozenset(Scope)), "bootstrap key"
    if held.key is None:
        return None, ""
    limited = None if held.destination_ids is None else frozenset(held.destination_ids)
    return Caller(KeyId(held.key), frozenset(held.scopes), limited), held.key_name or held.key


def comes_from_here(context: AppContext, request: Request) -> bool:
    """Return whether a form was sent from a page of ours, by the Origin that browsers put on every POST."""
    origin = request.headers.get("origin")
    if origin is None or origin == "null":
        return False
    if origin == _origin(context.public_url):
        return True
    # In development people also come by another name of this machine than PUBLIC_URL's.
    return context.development and address_parts(origin).netloc == request.headers.get("host")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def safe_next(path: str | None) -> str:
    """Return where to go after signing in: a path of the console, whatever was asked for."""
    fine = path is not None and path.startswith("/console") and path.isascii() and path.isprintable()
    return path if fine and path is not None and "\\" not in path and len(path) < 500 else "/console"
