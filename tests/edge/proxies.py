"""Real proxies in front of the service, configured as operators configure them, reusing connections."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.postgres.postmaster import free_port, port_taken
from tests.waiting import wait_until

# The recipe for WebSockets that is copied everywhere, with kept connections to the service.
_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn; worker_processes 1; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 32m;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream service {{ server 127.0.0.1:{service}; keepalive {kept}; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_request_buffering {buffering};
    }}
  }}
}}
"""

_HAPROXY = """
global
  maxconn 1000
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  option http-keep-alive
  http-reuse always
frontend edge
  bind 127.0.0.1:{port}
  default_backend service
backend service
  server one 127.0.0.1:{service}
"""


class ProxyMissing(Exception):
    """A proxy is not installed; `.ci/run` installs it."""


@contextmanager
def nginx(service: int, folder: Path, *, kept: int = 4, buffering: bool = True) -> Iterator[int]:
    """Run nginx in front of a port; yields its own. `kept`: idle connections to the service that it keeps."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    ports = {"port": port, "service": service, "kept": kept}
    user = "user root;" if folder.owner() == "root" else ""
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX.format(folder=folder, user=user, buffering="on" if buffering else "off", **ports)
    )
    with _running([_program("nginx"), "-e", str(folder / "nginx.log"), "-c", str(config)], port, folder):
        yield port


@contextmanager
def haproxy(service: int, folder: Path) -> Iterator[int]:
    """Run HAProxy in front of a port; yields its own."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "haproxy.cfg"
    config.write_text(_HAPROXY.format(port=port, service=service))
    with _running([_program("haproxy"), "-db", "-f", str(config)], port, folder):
        yield port


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ProxyMissing(f"{name} is not installed; `.ci/run` installs it, or `apt-get install {name}`.")
    return found


@contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: port_taken(port) or process.poll() is not None, every=0.02)
        assert process.poll() is None, (folder / "output.log").read_text()[-2000:]
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
