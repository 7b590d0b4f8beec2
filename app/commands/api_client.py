"""The client with which commands call the API. Its errors are sentences for the terminal."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from app.commands import CommandFailed, WrongArguments
from app.outbound import Outbound
from app.settings import Settings

PAGE = 200


def add_client_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--api` and `--key-file`, the options of every command that calls the API."""
    parser.add_argument(
        "--api", type=address, metavar="URL", help="address of the API; default: the one on this machine"
    )
    parser.add_argument(
        "--key-file", type=Path, metavar="F", help="file with an API key; default: BOOTSTRAP_ADMIN_KEY"
    )


def address(text: str) -> str:
    """Check an address before the first request, because a command repeats requests without a response."""
    with suppress(ValueError):
        url = urlsplit(text)
        # The host and the port are read, because both can be invalid.
        if url.scheme in {"http", "https"} and url.hostname and url.hostname.encode("idna") and url.port != 0:
            return text
    raise argparse.ArgumentTypeError("must be an address such as https://conversions.example")


def http_client(settings: Settings, asked: argparse.Namespace, *, timeout_s: float) -> httpx.Client:
    """Return a client with the address and the key of the arguments. Raises WrongArguments without a key."""
    return httpx.Client(
        base_url=asked.api or settings.local_url(settings.port),
        headers={"Authorization": f"Bearer {_read_key(settings, asked.key_file)}"},
        timeout=timeout_s,
        verify=Outbound(ca_file=settings.outbound_ca_file).tls(),
        trust_env=False,
    )


_TRANSIENT = frozenset({429, 502, 503, 504})


class _FieldProblem(msgspec.Struct):
    """An invalid field of a request."""

    field: str
    problem: str


class _Page(msgspec.Struct):
    """A page of a list."""

    items: list[dict[str, Any]]
    next_cursor: str | None


class ApiUnreachable(CommandFailed):
    """The API does not respond now, but a later call may succeed."""


class ApiClient:
    """Calls the API with the address and the key of the arguments."""

    def __init__(self, settings: Settings, asked: argparse.Namespace) -> None:
        self._client = http_client(settings, asked, timeout_s=30)
        self._client.headers["Accept"] = "application/json"

    def call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> dict[str, Any]:
        """Send a request and return the response. Query parameters that are None are left out.

        Raises CommandFailed with the API's own sentence.
        """
        parameters = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            response = self._client.request(method, path, params=parameters, json=body)
            content = msgspec.json.decode(response.content, type=dict[str, Any])
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        except UnicodeEncodeError:  # of an argument or of standard input
            raise WrongArguments("A value is no text in UTF-8.") from None
        except (ValueError, RecursionError):  # also of JSON that is not UTF-8 or nests too deeply
            raise _not_the_api(response.status_code) from None
        if not response.is_success:
            if (sentence := sentence_of(content)) is None:
                raise _not_the_api(response.status_code)
            if response.status_code == httpx.codes.UNAUTHORIZED:
                sentence = "The API does not accept the key: name a file with a valid one in --key-file."
            raise (ApiUnreachable if response.status_code in _TRANSIENT else CommandFailed)(sentence)
        return content

    def _unreachable(self, error: httpx.HTTPError) -> ApiUnreachable:
        place = f"{type(error).__name__} at {self._client.base_url.netloc.decode()} ({error})"
        remedy = ": set OUTBOUND_CA_FILE to its authority" if "CERTIFICATE_VERIFY_FAILED" in place else ""
        return ApiUnreachable(f"The API does not respond: {place}{remedy}.")

    def server_time(self) -> datetime:
        """Return the time of the API's clock.

        If the response has no date, return the time of this machine's clock.
        """
        try:
            return parsedate_to_datetime(self._client.get("/health/live").headers["date"])
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        except (KeyError, ValueError):  # a proxy removed the header
            return datetime.now(UTC)

    def items(
        self, path: str, query: Mapping[str, Any] | None = None, *, limit: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page, up to `limit`."""
        cursor: str | None = None
        left = limit
        while True:
            size = PAGE if left is None else min(PAGE, left)
            content = self.call("GET", path, query={**(query or {}), "limit": size, "cursor": cursor})
            try:
                page = msgspec.convert(content, _Page)
            except msgspec.ValidationError:
                raise _not_the_api(200) from None
            yield from page.items
            cursor = page.next_cursor
            if left is not None:
                left -= len(page.items)
            if cursor is None or left == 0:
                return


def _not_the_api(status: int) -> CommandFailed:
    """Return the error for a response that is not one of the API, such as one of a proxy."""
    if status in _TRANSIENT:
        return ApiUnreachable(f"The address returned {status}.")
    return CommandFailed(f"The address returned {status}, but is not the API: check --api.")


def sentence_of(error: dict[str, Any]) -> str | None:
    """Return the sentence of an error body with its fields. Return None if the body has no sentence."""
    detail = error.get("detail")
    if not isinstance(detail, str):
        return None
    try:
        fields = msgspec.convert(error.get("fields"), list[_FieldProblem])
    except msgspec.ValidationError:
        return detail
    return " ".join([detail, *[f"{each.field}: {each.problem}" for each in fields]])


def _read_key(settings: Settings, file: Path | None) -> str:
    """Return the API key in a file, or BOOTSTRAP_ADMIN_KEY without a file. Raises WrongArguments."""
    if file is not None:
        try:
            key = file.read_text("utf-8-sig", errors="replace").strip()
        except OSError as error:
            raise WrongArguments(f"The key file cannot be read: {file}: {error.strerror}.") from None
        if not (key and key.isascii() and key.isprintable()):
            raise WrongArguments(f"The key file holds no API key: {file}.")
        return key
    if settings.bootstrap_admin_key is None:
        raise WrongArguments("There is no API key. Add --key-file with a file that contains one.")
    return settings.bootstrap_admin_key.get_secret_value()
