"""A certificate authority of the tests, and Postgres behind TLS.

`TlsFront` speaks Postgres' TLS request in front of a server without TLS, such as the embedded one: for a
client there is no difference. It refuses connections without TLS, as `hostssl` does.
"""

import asyncio
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_TLS_REQUEST = struct.pack("!II", 8, 80877103)


@dataclass(frozen=True)
class Certificates:
    """PEM files: a certificate authority, and a server's certificate with its key."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def create(cls, folder: Path, *, address: str = "127.0.0.1", days: int = 1) -> "Certificates":
        """Create an authority, and its certificate for one address that is valid for `days` from now."""
        folder.mkdir(parents=True, exist_ok=True)
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {folder.name}")])
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "database")])
        authority = (
            _builder(root, root, root_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        certificate = (
            _builder(name, root, key.public_key(), days)
            .add_extension(names, critical=False)
            .sign(root_key, hashes.SHA256())
        )
        made = cls(folder / "ca.pem", folder / "server.crt", folder / "server.key")
        made.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        made.key.chmod(0o600)
        return made

    @property
    def server(self) -> ssl.SSLContext:
        """The TLS settings of a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def parameters(self, mode: str = "verify-full") -> str:
        """Return the parameters of a database URL that trusts this authority alone."""
        return f"sslmode={mode}&sslrootcert={self.authority}"


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int = 1
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
    )


class TlsFront:
    """Ends TLS in front of a Postgres. `over_tls` and `refused` count its connections."""

    def __init__(self, certificates: Certificates, port: int) -> None:
        self._context = certificates.server
        self._context.set_alpn_protocols(["postgresql"])
        self._behind = port
        self.port = self.over_tls = self.refused = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            try:
                if await reader.readexactly(8) != _TLS_REQUEST:
                    self.refused += 1
                    writer.write(_error("28000", "no pg_hba.conf entry, no encryption"))
                    await writer.drain()
                    return
                writer.write(b"S")
                await writer.start_tls(self._context)
                self.over_tls += 1
                behind, there = await asyncio.open_connection("127.0.0.1", self._behind)
                await asyncio.gather(_pass(reader, there), _pass(behind, writer))
            finally:
                writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()


def _error(code: str, message: str) -> bytes:
    body = (
        b"".join(field.encode() + b"\0" for field in ("SFATAL", "VFATAL", f"C{code}", f"M{message}")) + b"\0"
    )
    return b"E" + struct.pack("!I", len(body) + 4) + body


@contextmanager
def tls_front(certificates: Certificates, url: str) -> Iterator[tuple[str, TlsFront]]:
    """Run a front in a thread; yield the URL of the database through it, without parameters."""
    parts = urlsplit(url)
    assert parts.port is not None
    front, loop = TlsFront(certificates, parts.port), asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(front.serve(), loop).result()
    try:
        yield url.replace(f":{parts.port}/", f":{front.port}/"), front
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
