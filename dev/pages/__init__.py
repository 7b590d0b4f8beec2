"""Documents that are generated from the code. `./run docs --update` writes them."""

from collections.abc import Callable, Mapping
from typing import Final

from dev.pages import commands, metrics, notices, reasons, routes, settings, states

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "THIRD_PARTY_NOTICES.md": notices.page,
    "docs/commands.md": commands.page,
    "docs/metrics.md": metrics.page,
    "docs/reasons.md": reasons.page,
    "docs/routes.md": routes.page,
    "docs/settings.md": settings.page,
    "docs/states.md": states.page,
}
