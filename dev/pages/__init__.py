"""Documents that are generated from the code. `./run docs --update` writes them."""

import json
from collections.abc import Callable, Mapping
from typing import Final

from app.config_as_code import file
from dev.pages import commands, event_types, metrics, notices, reasons, routes, settings, states


def _schema() -> str:
    return json.dumps(file.schema(), indent=2, ensure_ascii=False) + "\n"


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "THIRD_PARTY_NOTICES.md": notices.page,
    "docs/commands.md": commands.page,
    "docs/configuration.schema.json": _schema,
    "docs/event-types.md": event_types.page,
    "docs/metrics.md": metrics.page,
    "docs/reasons.md": reasons.page,
    "docs/routes.md": routes.page,
    "docs/settings.md": settings.page,
    "docs/states.md": states.page,
}
