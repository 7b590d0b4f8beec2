"""Console sessions: a cookie, the API key that opened the session, and the role that the key's scopes give.

The cookie contains a random token; the database stores the token's digest. A visitor has the permissions that
the key has now. So revoking the key ends its sessions.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from app.admin import BOOTSTRAP_CALLER, Caller
from app.admin.access.people import person_caller, role_of
from app.admin.access.sessions import view_of
from app.admin.context import AppContext
from app.api.http.headers import address_parts
from app.crypto import CannotDecrypt, same_secret, secret_digest
from app.domain.ids import KeyId, OrganisationId
from app.store import audit
from app.store.access import sessions
from app.store.audit import AuditAction
from app.store.organisations.scope import EVERY

State = TypeVar("State", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, repr=False)
class Visitor:
    """The person or key behind a session. Every form of the session must carry the token `csrf`."""

    caller: Caller
    name: str
    role: str  # several roles are separated by commas
    csrf: str
    session: sessions.StoredSession


def is_secure(context: AppContext) -> bool:
    """Return whether the console is served over TLS. Only development uses plain HTTP."""
    return context.public_url.startswith("https://")


def cookie_name(context: AppContext, name: str = "console") -> str:
    """Return a cookie's name. The prefix `__Host-` limits it to this host and to TLS."""
    return f"__Host-{name}" if is_secure(context) else name


def set_cookie(
    context: AppContext, response: Response, name: str, value: str, *, max_age: timedelta, path: str = "/"
) -> None:
    """Set a cookie that scripts cannot read.

    SameSite is Lax, not Strict: the redirects back from Amazon and from a sign-in service come from other
    sites. A GET changes nothing, and every POST must name its origin and carry the session's form token.
    """
    seconds, secure = int(max_age.total_seconds()), is_secure(context)
    response.set_cookie(name, value, seconds, path=path, secure=secure, httponly=True, samesite="lax")


def delete_cookie(context: AppContext, response: Response, name: str, *, path: str = "/") -> None:
    """Delete a cookie from the browser."""
    response.delete_cookie(name, path, secure=is_secure(context), httponly=True, samesite="lax")


def sealed(context: AppContext, place: str, state: msgspec.Struct) -> str:
    """Return the state of a page as text that only this service can read."""
    return base64.urlsafe_b64encode(context.vault.seal(msgspec.json.encode(state), place=place)).decode()


def unsealed(context: AppContext, place: str, text: str, kind: type[State]) -> State | None:
    """Return the state that `sealed` made a text of. None if it is damaged or from another place."""
    try:
        return msgspec.json.decode(context.vault.open(base64.urlsafe_b64decode(text), place=place), type=kind)
    except (ValueError, CannotDecrypt):  # of base64 and of JSON too
        return None


def csrf_of(token: str) -> str:
    """Return the form token of a session. It is derived one-way from the session's cookie token."""
    return hmac.new(token.encode(), b"console form", hashlib.sha256).hexdigest()


async def begin(
    context: AppContext,
    request: Request,
    response: Response,
    caller: Caller,
    *,
    key_digest: bytes | None = None,
    person: sessions.Person | None = None,
) -> None:
    """Begin a session for a key or a person, and set its cookie on the response.

    It ends an earlier session of this browser, perhaps of another person, and the person's sessions with
    other roles.
    """
    token, replaced = secrets.token_urlsafe(32), sessions.SessionEnd.REPLACED
    await end(context, request, response, actor=caller.actor, reason=replaced)
    if person is not None:
        outdated = sessions.SessionSelection(subject=person.subject, unlike=person)
        await end_all(context, outdated, actor=caller.actor, reason=replaced)
    role = role_of(caller.scopes)
    roles = person.roles if person else [role] if role else []
    new = sessions.NewSession(
        secret_digest(token), caller.actor, roles, caller.organisation, key_digest=key_digest, person=person
    )
    async with context.within(caller.organisation).engine.begin() as connection:
        await sessions.begin(connection, new)
    set_cookie(context, response, cookie_name(context), token, max_age=sessions.ABSOLUTE)


async def end(
    context: AppContext, request: Request, response: Response, *, actor: str, reason: sessions.SessionEnd
) -> None:
    """End the request's session in the database and in the browser."""
    token = request.cookies.get(cookie_name(context))
    if token:
        own = sessions.SessionSelection(digest=secret_digest(token))
        await end_all(context, own, actor=actor, reason=reason)
    delete_cookie(context, response, cookie_name(context))


async def end_all(
    context: AppContext, selection: sessions.SessionSelection, *, actor: str, reason: sessions.SessionEnd
) -> None:
    """End the selected sessions of all organisations."""
    async with context.within(EVERY).engine.begin() as connection:
        await sessions.end(connection, selection, actor=actor, reason=reason)


async def act_for(context: AppContext, request: Request, organisation: OrganisationId) -> None:
    """Let the session of the caller act for an organisation. Only a platform caller may do so."""
    token, actor = request.cookies.get(cookie_name(context), ""), context.caller.actor
    async with context.within(organisation).engine.begin() as connection:
        await audit.record(connection, actor, AuditAction.ORGANISATION_SWITCHED, organisation)
    async with context.within(EVERY).engine.begin() as connection:
        await sessions.act_for(connection, secret_digest(token), organisation)


async def visitor_of(context: AppContext, request: Request, *, note: bool = True) -> Visitor | None:
    """Return the visitor of a request, or None if the request has no valid session.

    A session ends when it expires or when its key loses access. With `note`, the request counts as activity
    and postpones the expiry of an idle session.
    """
    token = request.cookies.get(cookie_name(context))
    if not token or len(token) > 100:
        return None
    async with context.within(EVERY).engine.begin() as connection:
        session = await sessions.find(connection, secret_digest(token), note=note)
    if session is None:
        return None
    caller, view = _caller(context, session), view_of(session)
    if caller is None or not view.roles:
        return None
    if session.acting_for is not None and caller.is_platform:  # only a platform caller may choose
        caller = replace(caller, organisation=session.acting_for)
    return Visitor(caller, view.person.name, ", ".join(view.roles), csrf_of(token), session)


def _caller(context: AppContext, session: sessions.StoredSession) -> Caller | None:
    """Return the person or the key of a session; None for a key that may not open the console any more."""
    if session.subject is not None:
        assert session.name is not None
        return person_caller(session.subject, session.name, session.roles, session.organisation)
    if not context.key_sign_in:
        return None
    bootstrap = context.bootstrap_key_digest
    assert session.key_digest is not None
    if bootstrap is not None and same_secret(session.key_digest, bootstrap):
        return BOOTSTRAP_CALLER
    if session.key is None:
        return None
    limited = None if session.destination_ids is None else frozenset(session.destination_ids)
    return Caller(KeyId(session.key), frozenset(session.scopes), limited, session.organisation)


def comes_from_here(context: AppContext, request: Request) -> bool:
    """Return whether a console page sent the form, by the Origin header that browsers add to every POST."""
    origins = request.headers.getlist("origin")
    if len(origins) != 1 or origins == ["null"]:
        return False
    (origin,) = origins
    if origin == origin_of(context.public_url):
        return True
    # In development, the browser may use another host name than the name in PUBLIC_URL.
    return context.development and address_parts(origin).netloc == request.headers.get("host")


def origin_of(url: str) -> str:
    """Return the origin of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def safe_next(path: str | None) -> str:
    """Return the path to open after the sign-in.

    This is the requested path if it belongs to the console, or else the first page.
    """
    if path is None or not path.startswith("/console"):
        return "/console"
    is_safe = path.isascii() and path.isprintable() and "\\" not in path and len(path) < 500
    return path if is_safe else "/console"
