"""ETag and If-Match: refuse a change that is based on an outdated version."""

from fastapi import Request

from app.admin.refusals import ErrorCode, Refusal


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def require_match(request: Request, version: int) -> None:
    """Raise Refusal (stale) when If-Match is present and does not match this version.

    A bare number is accepted too. A weak tag never matches (RFC 9110 §13.1.1).
    """
    header_lines = request.headers.getlist("if-match")
    if not header_lines:
        return
    tags = {tag.strip() for line in header_lines for tag in line.split(",")}
    if not tags & {"*", etag(version), str(version)}:
        raise Refusal(ErrorCode.STALE)
