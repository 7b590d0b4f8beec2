"""HAProxy in front of the API processes of a drill, with the configuration of the production example."""

import re
import shutil
import subprocess
from pathlib import Path
from socket import socket

from app.settings import ROOT
from dev.drills.stage import DrillFailed

SHIPPED = ROOT / "deploy" / "compose" / "proxy" / "haproxy.cfg"


def configuration(shipped: str, listener: int, ports: tuple[int, int]) -> str:
    """Return the shipped configuration with an inherited listener without TLS, and with processes of this machine."""
    text, bound = re.subn(r"(?m)^  bind .*$", f"  bind fd@{listener}", shipped)
    text, found = re.subn(
        r"\bapi-([ab]):8000$", lambda it: f"127.0.0.1:{ports[it[1] == 'b']}", text, flags=re.M
    )
    if (bound, found) != (1, 2):
        raise DrillFailed(f"{SHIPPED.name} has another form than the drill expects.")
    return text


def start(folder: Path, listener: socket, ports: tuple[int, int]) -> "subprocess.Popen[bytes]":
    """Start HAProxy on a listening socket, in front of two processes. Raises DrillFailed if it is not installed."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        raise DrillFailed("The drill needs haproxy (Debian: haproxy).")
    config = folder / "haproxy.cfg"
    config.write_text(configuration(SHIPPED.read_text(), listener.fileno(), ports))
    with (folder / "proxy.log").open("ab") as log:
        return subprocess.Popen(
            [program, "-db", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            pass_fds=(listener.fileno(),), start_new_session=True,
        )  # fmt: skip
