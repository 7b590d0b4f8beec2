"""The short form of `campaigns.attacks.generated`: a few requests of Schemathesis for each operation."""

from pathlib import Path

from campaigns.attacks.generated import attack
from tests.edge.hostile_inputs import Target
from tests.edge.service import EdgeService


def test_every_generated_request_gets_a_documented_answer(
    attacked: tuple[EdgeService, Target, Path], tmp_path: Path
) -> None:
    """No undocumented status, media type, header or member; no wrong request accepted; no traceback."""
    service, _, log = attacked
    done = attack(service, tmp_path, examples=3, seed=1, phases="fuzzing")
    assert done.returncode == 0, done.stdout[-4000:]
    assert "No issues found" in done.stdout
    assert "Traceback" not in log.read_text()
