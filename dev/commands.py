"""Commands of a development machine: `up`, `sandbox` and `example`. None of them runs in production."""

import argparse
import sys

from app.settings import Settings, SettingsError


def sandbox(settings: Settings, _asked: argparse.Namespace) -> int:
    """Run the Amazon stand-in; what it must remember is kept in DATA_DIR."""
    if settings.production:
        sys.stderr.write("The sandbox takes events in Amazon's place; it does not run in production.\n")
        return 2
    import uvicorn

    from sandbox.app import create_sandbox

    try:
        application = create_sandbox(state_dir=settings.data_dir / "sandbox")
    except OSError:
        raise SettingsError(
            ["DATA_DIR: the folder cannot be written; the sandbox stores its keys there."]
        ) from None
    uvicorn.run(
        application,
        host=settings.host,
        port=settings.sandbox_port,
        log_level="warning",
        access_log=False,
    )
    return 0


def up(settings: Settings, _asked: argparse.Namespace) -> int:
    """Run everything on this machine."""
    from dev import launcher

    return launcher.run(settings)


def example_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--api", help="address of the API, where it is not on this machine")


def example(settings: Settings, asked: argparse.Namespace) -> int:
    """Make the example destination and print the welcome screen: `up`'s last step, for containers."""
    from dev.banner import welcome
    from dev.environment import DevelopmentKeys
    from dev.example import ExampleError, ensure_example

    if settings.production:
        sys.stderr.write("The example sends to the sandbox; there is none in production.\n")
        return 2
    try:
        made = ensure_example(settings, asked.api or settings.local_url(settings.port))
    except ExampleError as problem:
        sys.stderr.write(f"The example destination could not be made: {problem}.\n")
        return 1
    assert settings.bootstrap_admin_key is not None
    ours = settings.bootstrap_admin_key.get_secret_value() == DevelopmentKeys.of(settings.data_dir).admin
    sys.stdout.write(welcome(settings, made, show_key=ours, own_sandbox=True))
    return 0
