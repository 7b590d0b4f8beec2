"""Open the ports of processes on HOST."""

import errno
import socket

from app.settings import Settings, SettingsError


def listen(settings: Settings, port: int, variable: str) -> socket.socket:
    """Open a port, which `variable` sets, on HOST. Raises SettingsError, which names the wrong setting."""
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES):
            problem = f"{variable}: port {port} is in use or not permitted; set it to a free one."
        else:
            problem = "HOST: is no address of this machine; 0.0.0.0 stands for all of them."
        raise SettingsError([problem]) from None
