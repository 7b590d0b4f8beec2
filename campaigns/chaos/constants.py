"""Constants of the product that a campaign draws per seed, and how a child process gets them.

The product has no hook for this. A child is started as `python -m campaigns.chaos.constants COMMAND …`, the
product's own command line: the one line of a module that assigns a constant is replaced before the module is
compiled, so that every importer and every default argument sees the drawn value. A line that is gone fails.
"""

import ast
import json
import os
import random
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.faulty_module import ROOT, FaultyModule

VARIABLE = "CHAOS_CONSTANTS"

Number = int | float


@dataclass(frozen=True, slots=True)
class Constant:
    """One assignment in one module; `template` turns a number into its source text."""

    file: str
    name: str
    choices: tuple[Number, ...]
    template: str = "{}"

    @property
    def module(self) -> str:
        return self.file.removesuffix(".py").replace("/", ".")

    @property
    def line(self) -> re.Pattern[str]:
        """The assignment or member at the start of a line, whatever its value and comment are."""
        return re.compile(rf"^( *{self.name}(?:(?:: [^=\n]+)? = |: ))[^\n#]+", re.MULTILINE)

    def replaced(self, source: str, value: Number) -> str:
        text, found = self.line.subn(rf"\g<1>{self.template.format(value)}  ", source)
        if found != 1:
            raise LookupError(f"{self.file} assigns {self.name} {found} times, not once")
        return text


# Small pools and odd sizes find what usual ones hide. `lease_s` and `request_deadline_s` are drawn together
# (see `draw`), since a request is only begun when the lease outlives it.
CONSTANTS: Mapping[str, Constant] = {
    "lease_s": Constant("app/domain/pacing/lane_limits.py", "lease", ()),
    "request_deadline_s": Constant("app/domain/pacing/lane_limits.py", "request", (2.0, 3.0, 4.0)),
    "statement_deadline_s": Constant("app/store/database/servers.py", "COMMAND_TIMEOUT_S", ()),
    "recover_every_s": Constant("app/delivery/lane_leases.py", "RECOVER_EVERY_S", (0.3, 1.0, 2.0)),
    "poll_every_s": Constant("app/delivery/lane.py", "POLL_EVERY_S", (0.2, 0.5, 1.0)),
    "worker_pool": Constant("app/processes/worker.py", "POOL_SIZE", (3, 4, 6, 10)),
    "api_pool": Constant("app/processes/api.py", "POOL_SIZE", (2, 3, 6)),
    "flush_worth_posts": Constant("app/ingest/group_commit.py", "FLUSH_MIN_REQUESTS", (1, 2, 7, 24, 100)),
    "cautious_flushes": Constant("app/ingest/flush_writer.py", "CAUTIOUS_FLUSHES", (0, 1, 5, 20)),
    "reserved_ids": Constant("app/ingest/flush_writer.py", "_RESERVED_IDS", (1, 2, 17, 256)),
    "erasure_page": Constant("app/delivery/erasure.py", "_PAGE", (7, 20, 50, 1_000)),
    "maintenance_page": Constant("app/delivery/maintenance.py", "_EXPIRE_LIMIT", (1, 20, 500)),
    "breaker_longest_wait_s": Constant("app/domain/pacing/pace.py", "LONGEST_WAIT_S", (1.0, 3.0, 6.0)),
    "longest_retry_wait_s": Constant("app/domain/outcomes/settle.py", "longest_wait", (0.5, 2.0, 4.0)),
    "token_lease_s": Constant("app/delivery/access_tokens.py", "_LEASE_S", ()),
    "token_call_s": Constant("app/amazon/tokens.py", "_DEADLINE_S", ()),
    # Of a control of the power cuts.
    "synchronous_commit": Constant("app/processes/resources.py", '"synchronous_commit"', (), '"off",'),
    # Longer than a busy process takes from reading a token to the claim that uses it.
    "token_reread_s": Constant("app/delivery/access_tokens.py", "_REREAD_S", (1.0, 2.0, 15.0)),
}

# Settings of the operator that are drawn as well; all are documented in `.env.example`.
SETTINGS: Mapping[str, tuple[int, ...]] = {
    "FLUSH_WAIT_MS": (0, 1, 3, 20),
    "MERGE_WINDOW_MS": (0, 10, 100, 400),
    "MAX_REQUESTS_IN_FLIGHT": (4, 6, 16, 64),
    "MAX_CONNECTIONS": (80, 300, 900),
}


def draw(luck: random.Random) -> tuple[dict[str, Number], dict[str, str]]:
    """Return the constants and the settings of a seed."""
    values = {name: luck.choice(constant.choices) for name, constant in CONSTANTS.items() if constant.choices}
    # A request begins only when the lease that was last renewed outlives its deadline.
    values["lease_s"] = round(values["request_deadline_s"] * luck.choice((1.7, 2.0, 3.0)), 2)
    # As in the product, a little more than half a lease: a lane must move before two of them are over.
    values["statement_deadline_s"] = round(values["lease_s"] * 0.58, 2)
    # As in the product: half a lease, and a call that ends before it.
    values["token_lease_s"] = round(values["lease_s"] * 0.5, 2)
    values["token_call_s"] = round(values["lease_s"] * 0.33, 2)
    return values, {name: str(luck.choice(choices)) for name, choices in SETTINGS.items()}


def install() -> None:
    """Replace the constants of the environment in every module that is imported from now on."""
    sources: dict[Path, str] = {}
    for name, value in json.loads(os.environ.get(VARIABLE) or "{}").items():
        constant = CONSTANTS[name]
        if constant.module in sys.modules:
            raise RuntimeError(f"{constant.module} was imported before its constants were replaced")
        path = ROOT / constant.file
        sources[path] = constant.replaced(sources.get(path) or path.read_text(), value)
    for path, source in sources.items():
        sys.meta_path.insert(0, FaultyModule(path, ast.parse(source)))


if __name__ == "__main__":
    install()
    from app.cli import main

    sys.exit(main())
