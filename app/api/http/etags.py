"""ETag and If-Match: they name the version of a resource that a change is based on."""

import re
from typing import Annotated, Protocol, TypeVar

from fastapi import Depends, Request, Response


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
