"""`./run campaign NAME …`: run one campaign. Arguments after the name go to the campaign."""

import importlib
import sys
from collections.abc import Sequence

import pytest

CAMPAIGNS = {
    "agreement": "campaigns.agreement",
    "chaos": "campaigns.chaos.campaign",
    "clock-faults": "campaigns.chaos.clock_faults",
    "containers": "campaigns.containers.campaign",
    "database-roles": "campaigns.database_roles",
    "failover": "campaigns.chaos.failover",
    "fuzzing": "campaigns.attacks.fuzzing",
    "generated": "campaigns.attacks.generated",
    "language": "campaigns.language",
    "liveness": "campaigns.chaos.liveness_campaign",
    "match-quality-cost": "campaigns.match_quality_cost",
    "mutation": "campaigns.attacks.mutation",
    "notifications": "campaigns.notifications",
    "power-cuts": "campaigns.chaos.power_cuts",
    "proxies": "campaigns.edge.proxied",
    "random-pairs": "tests.domain.random_pairs",
    "silent-network": "campaigns.chaos.silent_network",
    "single-faults": "campaigns.chaos.single_fault_run",
    "stalled": "campaigns.edge.stalled",
}
LONG_TESTS = "long-tests"  # the tests that `./run test` leaves out


def main(words: Sequence[str]) -> int:
    """Run the campaign that the first word names; list all campaigns without one."""
    name, *rest = words or [""]
    if name == LONG_TESTS:
        return int(pytest.main(["-m", "long", *rest]))
    if name not in CAMPAIGNS:
        print("campaigns:", *sorted([*CAMPAIGNS, LONG_TESTS]), sep="\n  ")
        return 2 if name else 0
    sys.argv = [f"./run campaign {name}", *rest]
    code: int = importlib.import_module(CAMPAIGNS[name]).main()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
