"""Headers of requests: raw ones, which are pairs of bytes, and Accept, If-Match and addresses. Also ETag.

The names of raw headers are in lower case.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol, TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit

from fastapi import Depends, Request, Response

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]
FirstHeaders: TypeAlias = Mapping[bytes, bytes]


def address_parts(address: str) -> SplitResult:
    """Return the parts of the URL in a header such as Origin or Referer.

    All parts are empty if the URL is invalid.
    """
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")


_NEGOTIABLE = ("application/json", "text/html")


def wants(request: Request, media_type: str) -> bool:
    """Return whether the Accept header names this media type before the other one of JSON and HTML.

    The wildcard `*/*` does not name a media type.
    """
    named = (part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(","))
    return next((name for name in named if name in _NEGOTIABLE), None) == media_type


class Versioned(Protocol):
    """A resource whose version counts its changes."""

    @property
    def version(self) -> int: ...


Resource = TypeVar("Resource", bound=Versioned)


def tagged(response: Response, resource: Resource) -> Resource:
    """Return a resource, and send its version as the entity tag of the response."""
    response.headers["ETag"] = etag(resource.version)
    return resource


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def expected_versions(request: Request) -> frozenset[int] | None:
    """Return the versions that If-Match accepts, or None if it accepts any version.

    The header may also contain a number without quotes. A weak tag never matches (RFC 9110 §13.1.1).
    """
    header_lines = request.headers.getlist("if-match")
    tags = {tag.strip() for line in header_lines for tag in line.split(",")}
    if not header_lines or "*" in tags:
        return None
    return frozenset(int(found["version"]) for tag in tags if (found := _TAG.fullmatch(tag)))


# A version, with both quotes or without quotes. A version has at most 19 digits.
_TAG = re.compile(r'(?P<quote>"?)(?P<version>0|[1-9]\d{0,18})(?P=quote)', re.ASCII)

Expected = Annotated[frozenset[int] | None, Depends(expected_versions)]
"""The versions of the resource on which a change is based. An operation that takes it reads If-Match."""
