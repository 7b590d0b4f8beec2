"""The commands `up`, `sandbox` and `example`, which do not run in production."""

import argparse
import signal
import sys

from app.commands.api_client import address
from app.processes.listeners import listen
from app.settings import Settings, SettingsError


def sandbox(settings: Settings, _asked: argparse.Namespace) -> int:
    """Run the sandbox, which stands in for Amazon. It stores its state in DATA_DIR."""
    if settings.production:
        sys.stderr.write(
            "The sandbox does not run in production: it would receive events instead of Amazon.\n"
        )
        return 2
    import uvicorn

    from sandbox.app import create_sandbox

    try:
        application = create_sandbox(
            state_dir=settings.data_dir / "sandbox", console_url=f"{settings.public_url}/console"
        )
    except OSError:
        raise SettingsError(
            ["DATA_DIR: the folder cannot be written; the sandbox stores its keys there."]
        ) from None
    listener = listen(settings, settings.sandbox_port, "SANDBOX_PORT")
    # After its shutdown, uvicorn raises the signal again. A requested stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.Server(uvicorn.Config(application, log_level="warning", access_log=False)).run([listener])
    return 0


def up(settings: Settings, _asked: argparse.Namespace) -> int:
    """Run the service, its database and the sandbox on this machine."""
    from dev import launcher

    return launcher.run(settings)


def example_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--api", type=address, metavar="URL", help="address of the API; default: this machine"
    )


def example(settings: Settings, asked: argparse.Namespace) -> int:
    """Create the example destination and print the welcome screen, as the last step of `up` does."""
    from dev.banner import welcome
    from dev.environment import DevelopmentKeys
    from dev.example import ensure_example

    if settings.production:
        sys.stderr.write("The example needs the sandbox, which does not run in production.\n")
        return 2
    destination = ensure_example(settings, asked.api or settings.local_url(settings.port))
    assert settings.bootstrap_admin_key is not None
    generated = settings.bootstrap_admin_key.get_secret_value() == DevelopmentKeys.of(settings.data_dir).admin
    sys.stdout.write(welcome(settings, destination, show_key=generated, own_sandbox=True))
    return 0
