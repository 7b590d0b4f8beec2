"""ETag and If-Match: a change made from an old reading is refused instead of undoing someone else's."""

from fastapi import Request

from app.admin.refusals import ErrorCode, Refusal


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def require_match(request: Request, version: int) -> None:
    """Refuse with 412 when If-Match is there and names no reading of this version.

    A bare number is taken too. A weak tag never matches (RFC 9110 §13.1.1).
    """
    given = request.headers.getlist("if-match")
    if not given:
        return
    tags = {tag.strip() for line in given for tag in line.split(",")}
    if not tags & {"*", etag(version), str(version)}:
        raise Refusal(ErrorCode.STALE)
