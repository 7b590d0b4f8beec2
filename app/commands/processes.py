"""`serve` and `work`. Imports are inside the functions, so that `--help` is fast."""

import argparse
import socket

from app.commands import WrongArguments, port
from app.processes import gc_tuning, parent_watch
from app.settings import Settings


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", type=int, help="an inherited listening socket, instead of HOST and PORT")
    work_arguments(parser)


def work_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metrics-port", type=port, help="port of this process, instead of METRICS_PORT")


def serve(settings: Settings, asked: argparse.Namespace) -> None:
    """Run the API and the console until SIGTERM or SIGINT."""
    with gc_tuning.paused():
        from app.processes import api

    parent_watch.wait_for_start()
    sockets = None if asked.socket is None else [_inherited(asked.socket)]
    api.serve(_with_port(settings, asked), sockets=sockets)


def _inherited(number: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=number)
        if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return listener
    except (OSError, ValueError, OverflowError):
        pass
    raise WrongArguments(
        f"--socket {number} is no listening socket that this process inherited: omit it to use HOST and PORT."
    )


def work(settings: Settings, asked: argparse.Namespace) -> None:
    """Run a delivery worker until SIGTERM or SIGINT."""
    with gc_tuning.paused():
        from app.processes import worker

    parent_watch.wait_for_start()
    worker.run(_with_port(settings, asked))


def _with_port(settings: Settings, asked: argparse.Namespace) -> Settings:
    return settings.model_copy(update={"metrics_port": asked.metrics_port or settings.metrics_port})
