"""`./run campaign generated`: requests that Schemathesis generates from `/openapi.json`.

Runs against an API process on a real database. Every response must have a documented status, media type,
headers and body; wrong requests must be refused and right ones accepted. Ends with 1 otherwise.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from campaigns.running import throwaway_database
from tests.edge.service import EdgeService, running_service
from tests.pipeline.processes import ADMIN

# Checks that are left out, each with its reason.
EXCLUDED_CHECKS = {
    "positive_data_acceptance": "cursors, If-Match, references and dates depend on what is stored",
}
CONFIGURATION = """
[parameters]
"path.destination_id" = "{destination}"
"path.mapping_id" = "{mapping}"
"query.destination_id" = "{destination}"

# A stale If-Match is refused before the body is read.
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422"]

# The tests' Postgres is not durable, and readiness says so.
[[operations]]
include-path = "/health/ready"
checks.not_a_server_error.expected-statuses = ["2xx", "405", "503"]

# No Amazon listens here.
[[operations]]
include-path = "/destinations/{{destination_id}}/test-conversions"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "502"]
"""
ROOT = Path(__file__).parents[2]


def attack(
    service: EdgeService,
    folder: Path,
    *,
    examples: int,
    seed: int,
    phases: str,
    more: Sequence[str] = (),
    shown: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run Schemathesis on a service, with the ids of a destination and a mapping that exist."""
    destination = service.callers[0].destination
    mapping = service.call("GET", f"/destinations/{destination}/mappings")["items"][0]["id"]
    configuration = folder / "schemathesis.toml"
    configuration.write_text(CONFIGURATION.format(destination=destination, mapping=mapping))
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={configuration}",
            "run",
            f"{service.product.api}/openapi.json",
            f"--header=Authorization: Bearer {ADMIN}",
            f"--max-examples={examples}",
            f"--seed={seed}",
            f"--phases={phases}",
            "--checks=all",
            *(["--exclude-checks=" + ",".join(EXCLUDED_CHECKS)] if EXCLUDED_CHECKS else []),
            # Archiving would end the destination that all other requests are about.
            "--exclude-operation-id-regex=^(delete_destination|revoke_key).*",
            "--generation-database=none",
            "--generation-with-security-parameters=false",
            "--request-timeout=30",
            "--continue-on-failure",
            "--no-shrink",
            "--warnings=off",
            *more,
        ],
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "campaigns.attacks.ndjson", "PYTHONPATH": str(ROOT)},
        stdout=None if shown else subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=50, help="per operation and phase")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    parser.add_argument("more", nargs="*", help="further arguments of `schemathesis run`")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="conversions-attacks-") as folder,
        throwaway_database() as url,
        running_service(url, Path(folder), 1) as service,
    ):
        done = attack(
            service,
            Path(folder),
            examples=options.examples,
            seed=options.seed,
            phases=options.phases,
            more=options.more,
            shown=True,
        )
        log = (Path(folder) / "service.log").read_text()
    tracebacks = log.count("Traceback")
    print(f"tracebacks in the service's log: {tracebacks}")
    return done.returncode or int(tracebacks > 0)
