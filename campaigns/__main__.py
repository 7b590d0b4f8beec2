"""`./run campaign NAME …`: run one campaign. Arguments after the name go to the campaign."""

import importlib
import sys
from collections.abc import Sequence

import pytest

# The module of each campaign, and arguments that come before those of the command.
CAMPAIGNS = {
    "agreement": "campaigns.agreement",
    "chaos": "campaigns.chaos.campaign chaos",
    "clock-faults": "campaigns.chaos.single_fault_run clock",
    "compiled": "campaigns.compiled",
    "containers": "campaigns.containers.campaign",
    "failover": "campaigns.chaos.failover",
    "generated": "campaigns.attacks.generated",
    "language": "campaigns.language",
    "liveness": "campaigns.chaos.campaign liveness",
    "mutation": "campaigns.attacks.mutation",
    "notifications": "campaigns.notifications",
    "power-cuts": "campaigns.chaos.power_cuts",
    "proxies": "campaigns.edge.proxied",
    "random-pairs": "tests.domain.random_pairs",
    "silent-network": "campaigns.chaos.silent_network",
    "single-faults": "campaigns.chaos.single_fault_run",
}
LONG_TESTS = "long-tests"  # the tests that `./run test` leaves out


def main(words: Sequence[str]) -> int:
    """Run the campaign that the first word names; list all campaigns without one."""
    name, *rest = words or [""]
    if name == LONG_TESTS:
        return int(pytest.main(["-m", "long", *rest]))
    if name not in CAMPAIGNS:
        if name:
            print(f"There is no campaign {name}.", file=sys.stderr)
        print("campaigns:", *sorted([*CAMPAIGNS, LONG_TESTS]), sep="\n  ")
        return 2 if name else 0
    module, *given = CAMPAIGNS[name].split()
    sys.argv = [f"./run campaign {name}", *given, *rest]
    code: int = importlib.import_module(module).main()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
