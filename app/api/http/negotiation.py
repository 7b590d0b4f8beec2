"""Content negotiation between JSON and HTML."""

from fastapi import Request

_KNOWN = ("application/json", "text/html")


def wants(request: Request, media_type: str) -> bool:
    """Return whether the Accept header names this media type before the other one of JSON and HTML.

    The wildcard `*/*` does not name a media type.
    """
    named = (part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(","))
    return next((name for name in named if name in _KNOWN), None) == media_type
