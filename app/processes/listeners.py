"""Open the ports of processes on HOST."""

import errno
import os
import socket
from typing import Final

from app.settings import Settings, SettingsError

_NO_ADDRESS: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL}


def listen(settings: Settings, port: int, variable: str) -> socket.socket:
    """Open a port, which `variable` sets, on HOST.

    Raises SettingsError, which names the wrong setting, and SystemExit if no setting is wrong.
    """
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        code = getattr(error, "errno", None)
        if code == errno.EADDRINUSE:
            problem = f"{variable}: port {port} is in use by another process; set a free one."
        elif code == errno.EACCES:
            problem = f"{variable}: port {port} is not permitted; set one above 1023."
        elif code is None or code < 0 or code in _NO_ADDRESS:  # a name without an address has no code above 0
            problem = "HOST: is no address of this machine; 0.0.0.0 stands for all of them."
        else:
            raise SystemExit(f"Port {port} cannot be opened: {os.strerror(code)}.") from None
        raise SettingsError([problem]) from None
