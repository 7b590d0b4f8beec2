"""Sentences and documents that repeat a number of the code repeat its current value."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.admin.destinations import preflight
from app.commands.doctor import API_CONNECTIONS, OTHER_CONNECTIONS, WORKER_CONNECTIONS
from app.domain.incidents import causes
from app.domain.outcomes.explain import EventState, explain
from app.domain.outcomes.missing_endpoint import ENDPOINT_POLICY, PROBE_EVERY
from app.domain.outcomes.status import Status

NOW = datetime(2026, 11, 26, tzinfo=UTC)
PARKED = EventState(Status.PARKED, 3, "endpoint_not_found", NOW, None, None, None, timedelta(days=21))


def test_the_interval_of_probes_is_in_words() -> None:
    assert f"every {ENDPOINT_POLICY.probe_every / 60:g} minutes" == PROBE_EVERY


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(explain(PARKED), id="explanation of an event"),
        pytest.param(preflight._NOT_FOUND, id="preflight"),
        pytest.param(causes.SIGN_IN["endpoint_not_found"].remedy, id="diagnosis"),
        *(
            pytest.param(Path(name).read_text().lower(), id=name)
            for name in ("docs/delivery.md", "docs/amazon-cases.md")
        ),
    ],
)
def test_a_text_about_404s_has_the_interval_of_probes(text: str) -> None:
    assert PROBE_EVERY in text


@pytest.mark.parametrize("name", ["docs/delivery.md", "docs/amazon-cases.md"])
def test_a_document_about_404s_says_when_a_destination_is_parked(name: str) -> None:
    assert ENDPOINT_POLICY.times == 3  # "three" in both documents
    assert f"After {ENDPOINT_POLICY.over:g} s with only 404s, at least three, the" in Path(name).read_text()


def test_doctor_needs_the_connections_that_the_documents_name() -> None:
    both = f"{API_CONNECTIONS} × API processes + {WORKER_CONNECTIONS} × workers + {OTHER_CONNECTIONS}."
    assert f"`max_connections` ≥ {both}" in Path("docs/sizing.md").read_text()
    each = f"{API_CONNECTIONS} for each API process and {WORKER_CONNECTIONS} for each worker"
    assert each in Path("docs/managed-postgres.md").read_text()
