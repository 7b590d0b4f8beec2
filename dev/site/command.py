"""`docs`: serve the documents as a site, build it, or write the generated pages."""

import argparse
import logging
from pathlib import Path

from mkdocs.commands.build import build
from mkdocs.commands.serve import serve
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from app.commands import CommandFailed, port
from app.settings import Settings
from app.store.database.migrate import ROOT
from dev.pages import PAGES


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--build", metavar="FOLDER", help="write the site to a folder and exit")
    parser.add_argument(
        "--update", action="store_true", help="write the pages that are generated from the code"
    )
    parser.add_argument("--port", type=port, default=8002, help="port of the site; default: 8002")


def run(_settings: Settings, asked: argparse.Namespace) -> int:
    """Serve the site, and build it again when a page changes; or build it once."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if asked.update:
        for name, page in PAGES.items():
            (ROOT / name).write_text(page())
        return 0
    if asked.build is None:
        try:
            serve(str(ROOT / "mkdocs.yml"), dev_addr=f"127.0.0.1:{asked.port}", strict=False)
        except OSError as error:
            raise CommandFailed(f"--port {asked.port} cannot be opened: {error.strerror}.") from None
        return 0
    return 0 if build_site(Path(asked.build)) else 1


def build_site(folder: Path) -> bool:
    """Write the site to a folder; return whether all links and anchors lead somewhere."""
    try:
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder.resolve())))
    except Abort:
        return False
    return True
