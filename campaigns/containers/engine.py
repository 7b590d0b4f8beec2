"""The real Docker engine without an image registry: Debian's packages, unpacked and started in namespaces.

`python:3.13-slim`, `debian:trixie-slim` and `postgres:18` are stand-ins built from Debian, the last with Debian's
Postgres. Two engines share their images: one that builds on the machine's network and changes
none of it, and one that runs containers in a network namespace of its own. Root on Debian 13 only.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd", "runc")
TOOLS = ("mmdebstrap", "iptables", "iproute2", "tini")
BASES = ("python:3.13-slim", "debian:trixie-slim")
POSTGRES_MAJOR = "17"  # Debian's
_POSTGRES = f"""
FROM python:3.13-slim
RUN mkdir /etc/postgresql-common && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf \\
    && apt-get update && apt-get install -y --no-install-recommends postgresql-{POSTGRES_MAJOR}
COPY --chmod=755 postgres-entrypoint.sh /usr/local/bin/
ENV PATH=/usr/lib/postgresql/{POSTGRES_MAJOR}/bin:$PATH PGDATA=/var/lib/postgresql/docker PGHOST=/var/run/postgresql
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["postgres-entrypoint.sh"]
CMD ["postgres"]
"""


class Engine:
    """The engine's files below one folder, which the next run can use again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = folder / "eng"
        self._enter: list[str] = []
        self._socket = folder / "run.sock"

    def prepare(self) -> None:
        """Unpack the programs and make the root file system of the base images, unless both exist."""
        (self.folder / "deb").mkdir(parents=True, exist_ok=True)
        if not (self._programs / "usr/sbin/dockerd").exists():
            _run("apt-get", "update", "-qq")
            _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *TOOLS)
            _run("apt-get", "download", "-qq", *PACKAGES, cwd=self.folder / "deb")
            for package in (self.folder / "deb").glob("*.deb"):
                _run("dpkg", "-x", str(package), str(self._programs))
        plugins = self.folder / "cfg" / "cli-plugins"
        shutil.copytree(self._programs / "usr/libexec/docker/cli-plugins", plugins, dirs_exist_ok=True)
        init = self._programs / "usr/bin/docker-init"
        init.unlink(missing_ok=True)
        init.symlink_to("/usr/bin/tini-static")
        base = self.folder / "base" / "root.tar"
        if not base.exists():
            base.parent.mkdir(exist_ok=True)
            sources = Path("/etc/apt/sources.list.d/debian.sources").read_text()
            links = "; ".join(
                f'ln -s /usr/bin/python3.13 "$1/usr/local/bin/{n}"' for n in ("python", "python3")
            )
            skipped = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
            _run(
                "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *skipped,
                "--include=ca-certificates,netbase,tzdata,python3.13,python3.13-venv",
                f"--customize-hook={links}",
                "--customize-hook=copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs",
                "trixie", str(base), "-", text=sources,
            )  # fmt: skip

    @contextmanager
    def building(self) -> Iterator[None]:
        """Run the engine that builds: on the machine's network, of which it changes nothing."""
        off = ("bridge=none", "iptables=false", "ip6tables=false", "ip-forward=false", "ip-masq=false")
        with self._engine("build", [f"--{option}" for option in off]):
            known = self.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
            if not {*BASES, "postgres:18"} <= set(known):
                self._make_bases()
            yield

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the engine that runs containers, in a network namespace with a loopback device and its bridge."""
        network = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up; exec sleep 7200"])
        time.sleep(1)
        self._enter = ["nsenter", "-t", str(network.pid), "-n"]
        try:
            with self._engine("run", []):
                yield
        finally:
            self._enter = []
            network.kill()
            network.wait()

    def docker(self, *words: str, check: bool = True, cwd: Path = ROOT, text: str | None = None) -> str:
        """Run `docker …` and return its output, errors included."""
        done = subprocess.run(
            ["docker", *words], cwd=cwd, env=self._environment(), check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, input=text,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"docker {' '.join(words)}\n{done.stdout[-4000:]}")
        return done.stdout

    def inside(self, *words: str, cwd: Path = ROOT) -> str:
        """Run a program in the network namespace of the containers and return its output."""
        return subprocess.run(
            [*self._enter, *words], check=True, stdout=subprocess.PIPE, text=True, cwd=cwd,
            env=self._environment(),
        ).stdout  # fmt: skip

    def command_inside(self, *words: str) -> list[str]:
        """Return a command line that runs a program in the network namespace of the containers."""
        return [*self._enter, *words]

    def _environment(self) -> dict[str, str]:
        path = f"{self._programs}/usr/sbin:{self._programs}/usr/bin:/usr/sbin:/sbin:{os.environ['PATH']}"
        return {
            **os.environ,
            "PATH": path,
            "DOCKER_CONFIG": str(self.folder / "cfg"),
            "DOCKER_HOST": f"unix://{self._socket}",
        }

    @contextmanager
    def _engine(self, name: str, options: Sequence[str]) -> Iterator[None]:
        self._socket = self.folder / f"{name}.sock"
        # A pure cgroup v2 view; the machine's own hierarchy stays as it is.
        script = 'mount -t cgroup2 none /sys/fs/cgroup; exec dockerd "$@"'
        places = [
            f"--host=unix://{self._socket}",
            f"--data-root={self.folder / 'data'}",
            f"--exec-root={self.folder / 'exec'}",
            f"--pidfile={self.folder / name}.pid",
            "--storage-driver=overlay2",
        ]
        with (self.folder / f"{name}.log").open("wb") as log:
            engine = subprocess.Popen(
                [*self._enter, "unshare", "--mount", "--propagation", "private", "bash", "-c", script, "dockerd", *places, *options],
                env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while "Server:" not in self.docker("version", check=False):
                assert engine.poll() is None, log.name
                assert time.monotonic() < deadline, log.name
                time.sleep(0.5)
            yield
        finally:
            engine.terminate()
            engine.wait(60)

    def _make_bases(self) -> None:
        path = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8"
        base = str(self.folder / "base" / "root.tar")
        self.docker("import", "-c", path, "-c", 'CMD ["python3"]', base, BASES[0])
        self.docker("tag", *BASES)
        here = str(Path(__file__).parent)
        self.docker("build", "-q", "--network", "host", "-t", "postgres:18", "-f-", here, text=_POSTGRES)


def _run(*command: str, cwd: Path | None = None, text: str | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(
        command, check=True, cwd=cwd, input=text, text=True, env=environment, stdout=subprocess.DEVNULL
    )
