"""Raw HTTP/1.1 over a socket: bytes out in chosen segments, responses in, and how the connection ended."""

import json
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 5.0


@dataclass(frozen=True)
class Response:
    """One response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Exchange:
    """All that one connection brought. `end`: `eof`, `reset`, `open` (nothing for `PATIENCE_S`)."""

    responses: list[Response] = field(default_factory=list)
    end: str = "open"
    rest: bytes = b""  # bytes that are no response
    unsent: bool = False  # the server closed before everything was sent
    interim: int = 0  # responses before the final ones (1xx)

    @property
    def statuses(self) -> list[int]:
        return [response.status for response in self.responses]


def take_response(
    received: bytes, *, head: bool = False, at_end: bool = False
) -> tuple[Response, bytes] | None:
    """Split the first response off `received`; None while it is incomplete.

    `head`: the response to a HEAD request, which has no body. `at_end`: nothing more will come.
    """
    start, complete, rest = received.partition(b"\r\n\r\n")
    if not complete:
        return None
    first, *lines = start.decode("latin-1").split("\r\n")
    version, status, *_ = first.split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"no response: {received[:80]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    code = int(status)
    if head or code < 200 or code in (204, 304):
        return Response(code, headers, b""), rest
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size, complete, rest = rest.partition(b"\r\n")
            if not complete or len(rest) < (length := int(size, 16)) + 2:
                return None
            body, rest = body + rest[:length], rest[length + 2 :]
            if not length:
                return Response(code, headers, body), rest
    if "content-length" in headers:
        length = int(headers["content-length"])
        return (Response(code, headers, rest[:length]), rest[length:]) if len(rest) >= length else None
    return (Response(code, headers, rest), b"") if at_end else None


class Wire:
    """One client connection that controls its own segments."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.result = Exchange()

    def close(self) -> None:
        self._socket.close()

    def send(self, *segments: bytes) -> None:
        """Send each segment once the server has read the one before; a reset is found by the reader."""
        for number, segment in enumerate(segments):
            if number:
                self._wait_until_read()
            try:
                self._socket.sendall(segment)
            except (ConnectionError, TimeoutError):
                self.result.unsent = True
                return

    def end_sending(self) -> None:
        """Close our half of the connection."""
        self._socket.shutdown(socket.SHUT_WR)

    def read(self, *, until: int | None = None, heads: frozenset[int] = frozenset()) -> Exchange:
        """Read responses until there are `until` of them, or until the connection ends.

        `heads`: the positions of responses to HEAD requests. Interim responses (1xx) are left out.
        """
        result = self.result
        while until is None or len(result.responses) < until:
            head = len(result.responses) in heads
            taken = take_response(self._received, head=head, at_end=result.end != "open")
            if taken is not None:
                response, self._received = taken
                if response.status >= 200:
                    result.responses.append(response)
                result.interim += response.status < 200
                continue
            if result.end != "open":
                break
            try:
                more = self._socket.recv(65_536)
            except TimeoutError:
                break
            except ConnectionError:
                result.end = "reset"
                continue
            self._received += more
            if not more:
                result.end = "eof"
        result.rest = self._received
        return result

    def announces_close(self) -> bool:
        """Return whether the last response announces the end of the connection."""
        responses = self.result.responses
        return bool(responses) and responses[-1].headers.get("connection", "").lower() == "close"

    def _wait_until_read(self) -> None:
        """Wait until the server's receive queue for this connection is empty, as the kernel reports it."""
        ours = self._socket.getsockname()[1]
        until = time.monotonic() + PATIENCE_S
        while _unread(self._port, ours):
            if time.monotonic() > until:
                return
            time.sleep(0.0001)


def _unread(server_port: int, client_port: int) -> bool:
    """Tell whether bytes from a loopback client wait in the server's socket."""
    wanted = f"{_address(server_port)} {_address(client_port)} ".encode()
    with open("/proc/net/tcp", "rb") as table:
        for line in table:
            if wanted in line:
                return int(line.split()[4].split(b":")[1], 16) > 0
    return False


def _address(port: int) -> str:
    number = struct.unpack("=I", socket.inet_aton("127.0.0.1"))[0]
    return f"{number:08X}:{port:04X}"


def boundaries(request: bytes, *, few: bool) -> list[int]:
    """Return the places where a request is worth cutting in two; `few`: where its head is refused anyway."""
    line = request.find(b"\r\n")
    end = request.find(b"\r\n\r\n")
    places = {line + 1, end + 4, len(request) - 1}
    if not few:
        places |= {1, line + 2, line + 5, end + 1, end + 2, end + 3, end + 5, end + 6, len(request) - 3}
    return sorted(place for place in places if 0 < place < len(request))


def single_bytes(request: bytes) -> list[int]:
    """Return where to cut a request so that its line ends, the end of its head and its end come byte by byte.

    Not every byte: on a busy machine so many segments take longer than a head may.
    """
    end = request.find(b"\r\n\r\n")
    near = {*range(1, 8), *range(end - 3, end + 12), *range(len(request) - 10, len(request))}
    near |= {at + 1 for at in range(len(request) - 1) if request[at : at + 2] == b"\r\n"}
    return sorted(place for place in near if 0 < place < len(request))
