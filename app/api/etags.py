"""ETag and If-Match: refuse a change that is based on an outdated version."""

import re

from fastapi import Request

from app.admin.refusals import ErrorCode, Refusal


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def expected_versions(request: Request) -> frozenset[int] | None:
    """Return the versions that If-Match accepts, or None for any.

    A bare number is accepted too. A weak tag never matches (RFC 9110 §13.1.1).
    """
    header_lines = request.headers.getlist("if-match")
    tags = {tag.strip() for line in header_lines for tag in line.split(",")}
    if not header_lines or "*" in tags:
        return None
    return frozenset(int(found["version"]) for tag in tags if (found := _TAG.fullmatch(tag)))


# A version as this service writes it, with both quotes or none; no version has more digits.
_TAG = re.compile(r'(?P<quote>"?)(?P<version>0|[1-9]\d{0,18})(?P=quote)', re.ASCII)


def require_match(request: Request, version: int) -> None:
    """Raise Refusal (stale) when If-Match is present and does not match this version."""
    expected = expected_versions(request)
    if expected is not None and version not in expected:
        raise Refusal(ErrorCode.STALE)
