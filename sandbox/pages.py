"""Render HTML pages without scripts and external assets, under a strict content security policy."""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse


class Pages:
    """Render templates with their security headers."""

    def __init__(self, console_url: str | None = None) -> None:
        self._console_url = console_url
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
        )

    def show(
        self, template: str, *, status: int = 200, form_targets: str = "", **content: Any
    ) -> HTMLResponse:
        """Render a page; `form_targets` are other origins that its forms may redirect to.

        Browsers apply the policy `form-action` also to the redirect after a form. The sign-in page must
        therefore list the origin of its redirect.
        """
        nonce = secrets.token_urlsafe(16)
        html = self._templates.get_template(template).render(
            nonce=nonce, console_url=self._console_url, **content
        )
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'; "
            f"form-action 'self' {form_targets}"
        )
        headers = {
            "content-security-policy": policy.strip(),
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
        }
        return HTMLResponse(html, status, headers)

    def problem(self, status: int, sentence: str) -> HTMLResponse:
        return self.show("problem.html", status=status, sentence=sentence)


def rfc3339(seconds: float | None) -> str | None:
    """Format a time as RFC 3339 UTC with milliseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
