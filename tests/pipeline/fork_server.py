"""Start processes of the product as forks of a process that has imported it.

The imports of an API process take two seconds of CPU time, and the suite starts a hundred processes. A fork
has its own arguments, environment and files, and runs the command line like `python -m app`.
"""

import atexit
import fcntl
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 1 << 17  # bytes of a message: arguments and environment


@dataclass
class Fork:
    """A started process, with the part of the interface of `subprocess.Popen` that tests use."""

    pid: int
    status: socket.socket
    returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self._read(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process and return its exit code."""
        code = self._read(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def _read(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self.status.settimeout(timeout)
            try:
                self.returncode = int(self.status.recv(16) or -signal.SIGKILL)
            except (BlockingIOError, TimeoutError):
                return None
            self.status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> socket.socket:
    """Start the server of this test process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "tests.pipeline.fork_server", str(theirs.fileno())]
        server = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], env=_imports())
    atexit.register(lambda: (ours.close(), server.wait()))
    return ours


def _imports() -> dict[str, str]:
    """Return the environment of the server. It contains no setting of the product."""
    return {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "PATH", "HOME"))}


def start(
    words: Sequence[str],
    environment: Mapping[str, str],
    output: int,
    inherited: Sequence[int] = (),
    *,
    errors: int | None = None,
    given: int | None = None,
) -> Fork:
    """Start the command line with `words`. The `inherited` descriptors keep their numbers.

    `errors` is by default `output`, and `given`, the standard input, is by default empty.
    """
    status, theirs = socket.socketpair()
    message = json.dumps([list(words), dict(environment), list(inherited)]).encode()
    assert len(message) < LARGEST
    with theirs, open(os.devnull) as nothing:
        streams = (nothing.fileno() if given is None else given, output, output if errors is None else errors)
        socket.send_fds(_server(), [message], [theirs.fileno(), *streams, *inherited])
    return Fork(int(status.recv(16)), status)


def run(
    words: Sequence[str], environment: Mapping[str, str], *, given: str = "", timeout: float = 120
) -> "subprocess.CompletedProcess[str]":
    """Run the command line to its end, as `subprocess.run` does with `capture_output`."""
    temporary = partial(tempfile.TemporaryFile, buffering=0)
    with temporary() as source, temporary() as output, temporary() as errors:
        source.write(given.encode())
        source.seek(0)
        fork = start(words, environment, output.fileno(), errors=errors.fileno(), given=source.fileno())
        try:
            code = fork.wait(timeout)
        finally:
            fork.kill()
        texts = [os.pread(each.fileno(), 1 << 24, 0).decode() for each in (output, errors)]
    return subprocess.CompletedProcess(list(words), code, *texts)


def piped(words: Sequence[str], environment: Mapping[str, str]) -> tuple[Fork, TextIO]:
    """Start the command line; return it with its output. Its errors are those of this process."""
    read, write = os.pipe()
    with open(write, "wb"):
        fork = start(words, environment, write, errors=2)
    return fork, open(read)


def serve(control: socket.socket) -> list[str]:
    """Fork for each message. Returns, in each fork, the arguments of the command line."""
    ended, wake = socket.socketpair()
    for each in (ended, wake):
        each.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    running: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if ended in ready:
                ended.recv(4096)
                _report(running)
            if control not in ready:
                continue
            message, descriptors, _, _ = socket.recv_fds(control, LARGEST, 16)
            if not message:  # the tests have ended
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)
            if (pid := os.fork()) == 0:
                break
            running[pid] = socket.socket(fileno=descriptors[0])
            running[pid].send(str(pid).encode())
            for descriptor in descriptors[1:]:
                os.close(descriptor)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for each in (control, ended, wake, *running.values()):
        each.close()
    words, environment, inherited = json.loads(message)
    _adopt(descriptors, environment, inherited)
    return list(words)


def _report(running: dict[int, socket.socket]) -> None:
    """Send the exit codes of processes that have ended."""
    while running:
        pid, state = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with running.pop(pid) as status:
            status.send(str(os.waitstatus_to_exitcode(state)).encode())


def _adopt(descriptors: Sequence[int], environment: Mapping[str, str], inherited: Sequence[int]) -> None:
    """Take over the files and the environment of a start."""
    os.close(descriptors[0])
    # Away from the numbers that they get next.
    files = [fcntl.fcntl(each, fcntl.F_DUPFD, 200) for each in descriptors[1:]]
    for source, number in zip(files, (0, 1, 2, *inherited), strict=True):
        os.dup2(source, number)
    for each in (*descriptors[1:], *files):
        if each not in inherited:
            os.close(each)
    # New ones: those of the server remember what kind of file they were opened on.
    sys.stdout, sys.stderr = (
        os.fdopen(each.fileno(), "w", 1, encoding=each.encoding, errors=each.errors, closefd=False)
        for each in (sys.stdout, sys.stderr)
    )
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()


if __name__ == "__main__":
    from app import cli
    from app.processes import api, worker  # noqa: F401

    for command in cli.COMMANDS:
        if command.run.partition(".")[0] not in {"dev", "sandbox", "bench"}:
            command.load()
    gc.collect()
    gc.freeze()
    sys.exit(cli.main(serve(socket.socket(fileno=int(sys.argv[1])))))
