"""What an installation has after 21 days, for the upgrade drill: waiting events, incidents, sessions and drafts."""

import hashlib
import secrets
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx

from dev.drills.load import event_of
from dev.drills.stage import DrillFailed, Stage
from dev.example import Example

DAYS: Final = 21
EVENTS: Final = 100  # a day and destination
# The ways in which events wait, with the fault of Amazon that causes each.
FAULTS: Final[dict[str, dict[str, Any] | None]] = {
    "queued": {"kind": "429", "retry_after": 2},
    "retrying": {"kind": "5xx"},
    "held": None,
    "parked": {"kind": "revoked"},
    "dead": {"kind": "partial", "code": "FIELD_VALUE_IS_INVALID"},
}
RELEASES: Final = ("next", "earlier")  # which release ends the wait
REACHED_WITHIN_S: Final = 90.0

# Batches get the day of their events, as if they had been accepted on it.
_AGE = """
    DO $$ DECLARE first date; BEGIN
      FOR first IN SELECT generate_series(current_date - 22, current_date - 1, '1 day') LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS batches_p%s PARTITION OF batches FOR VALUES FROM (%L) TO (%L)',
          to_char(first, 'YYYYMMDD'), first, first + 1);
        first := first - (first - date '1970-01-01') % 10;
        EXECUTE format('CREATE TABLE IF NOT EXISTS batch_states_p%s PARTITION OF batch_states '
          'FOR VALUES FROM (%L) TO (%L)', to_char(first, 'YYYYMMDD'), first, first + 10);
      END LOOP;
      CREATE TEMPORARY TABLE moved ON COMMIT DROP AS
        SELECT batch, s.day, (first_event AT TIME ZONE 'UTC')::date AS older FROM batch_states s
        WHERE destination IN (SELECT number FROM destinations WHERE name LIKE 'earlier %');
      UPDATE batches b SET day = older FROM moved m WHERE m.batch = b.id AND m.day = b.day;
      UPDATE exceptions e SET day = older FROM moved m WHERE m.batch = e.batch;
      UPDATE batch_states s SET day = older, accepted_at = first_event FROM moved m
        WHERE m.batch = s.batch AND m.day = s.day;
      UPDATE counts SET accepted = 0 WHERE destination IN (SELECT destination FROM batch_states s JOIN moved USING (batch));
      INSERT INTO counts AS c (destination, day, writer, accepted)
        SELECT destination, older, 0, sum(events) FROM batch_states JOIN moved USING (batch) GROUP BY 1, 2
        ON CONFLICT (destination, day, writer) DO UPDATE SET accepted = c.accepted + excluded.accepted;
    END $$
"""
_DUE = """
    UPDATE batch_states SET due_at = now() WHERE settled_at IS NULL
      AND destination = (SELECT number FROM destinations WHERE id = $1)
"""
_PERSON = """
    INSERT INTO console_sessions (digest, subject, display_name, role) VALUES ($1, 'drill', 'Ada', 'editor')
"""


class EarlierState:
    """Writes the state with the earlier release, and compares it with what each release shows later."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._targets: dict[tuple[str, str], Example] = {}
        self._sent: dict[tuple[str, str], set[str]] = {}
        self._sessions: list[httpx.Client] = []
        self._incidents: dict[str, str] = {}
        self._drafts: dict[str, Any] = {}
        self.problems: list[str] = []

    def write(self) -> None:
        """Post events of 21 days that wait in each way. Let incidents open, begin sessions, and change drafts."""
        for place, (way, release) in enumerate((w, r) for w in FAULTS for r in RELEASES):
            target = self._stage.connect(
                name=f"earlier {way} {release}", advertiser=str(4_000_000_001_000 + place)
            )
            self._targets[way, release] = target
            self._stage.set_rate(target, 50)
            self._post(target, (way, release), day=0, events=1)  # its sign-in works
            self._stage.drain(destination=target)
            if way == "held":
                self._control(target, "pause")
            self._stage.set_fault(FAULTS[way], target.advertiser_id)
            for day in range(DAYS):
                self._post(target, (way, release), day, EVENTS)
        self._await_waiting()
        self._write_beside_events()
        for name in ("worker-1", "worker-2"):
            self._stage.stop(name)
        self._stage.execute(_AGE)

    def check(self, release: str) -> None:
        """Note as problems what this release shows otherwise than it was written."""
        for path, before in self._drafts.items():
            now = self._stage.call("GET", path)
            # The releases give different hints (`warnings`).
            if other := [name for name in before.keys() - {"warnings"} if now[name] != before[name]]:
                self.problems.append(f"the {release} release shows a draft with other {', '.join(other)}")
        for number, session in enumerate(self._sessions):
            if session.get("/console").status_code != httpx.codes.OK:
                self.problems.append(f"the {release} release refuses session {number}")
        for id_, kind in self._incidents.items():
            incident = self._stage.call("GET", f"/incidents/{id_}")
            if (incident["kind"], incident["note"]) != (kind, "drill"):
                self.problems.append(f"the {release} release shows another incident than {kind}")

    def end_waits(self, release: str) -> None:
        """Repair what the events of this release wait for, and note lost events as problems."""
        self.begin_session()
        for (way, ending), target in self._targets.items():
            if ending != release:
                continue
            self._stage.set_fault(None, target.advertiser_id)
            if way == "retrying":
                self._stage.execute(
                    _DUE, target.destination_id
                )  # after minutes of failures, the next try is far off
            if way == "held":
                self._control(target, "resume")
            if way == "parked":
                self._stage.connect(name=f"earlier {way} {release}", advertiser=target.advertiser_id)
            if way == "dead":
                while self._control(target, "replay", {"status": "dead", "dry_run": False})["remaining"]:
                    time.sleep(1)
        for key, target in self._targets.items():
            if key[1] == release:
                self._compare(key, target)

    def connect_another(self) -> None:
        """Create, connect and use a destination with the processes that answer now, while both releases run."""
        place = len(self._targets)
        key = f"destination {place}", ""
        target = self._targets[key] = self._stage.connect(
            name=key[0], advertiser=str(4_000_000_001_000 + place)
        )
        self._post(target, key, 0, EVENTS)
        self._compare(key, target)

    def describe(self) -> str:
        """Return a sentence about what was written."""
        events = sum(map(len, self._sent.values()))
        kinds = ", ".join(
            f"{number} {kind}" for kind, number in sorted(Counter(self._incidents.values()).items())
        )
        return (
            f"{events:,} events of {DAYS} days ({', '.join(FAULTS)}), open incidents ({kinds}), "
            f"{len(self._sessions)} sessions, {len(self._drafts)} drafts"
        )

    def begin_session(self) -> None:
        """Sign in to the console with the release that answers."""
        client = httpx.Client(base_url=self._stage.api, headers={"Origin": self._stage.api}, timeout=30)
        client.post(
            "/console/sign-in", data={"key": self._stage.headers["Authorization"].removeprefix("Bearer ")}
        )
        self._sessions.append(client)

    def _write_beside_events(self) -> None:
        for page in self._stage.call("GET", "/incidents?state=open&limit=200")["items"]:
            self._incidents[page["id"]] = page["kind"]
            self._stage.call("POST", f"/incidents/{page['id']}/acknowledge", {"note": "drill"})
        self.begin_session()
        person, token = httpx.Client(base_url=self._stage.api, timeout=30), secrets.token_urlsafe(32)
        person.cookies.set(next(iter(self._sessions[0].cookies)), token)
        self._stage.execute(_PERSON, hashlib.sha256(token.encode()).digest())
        self._sessions.append(person)
        for target in self._targets.values():
            mappings = f"/destinations/{target.destination_id}/mappings"
            path = f"{mappings}/{self._stage.call('GET', mappings)['items'][0]['id']}"
            self._drafts[path] = self._stage.call("PATCH", path, {"event_name": "A draft"})

    def _await_waiting(self) -> None:
        """Wait until the events of each destination wait as they should, and incidents are open."""
        until = time.monotonic() + REACHED_WITHIN_S
        for (way, _), target in self._targets.items():
            while not (counts := self._stage.counts(target))[way]:
                if time.monotonic() > until:
                    raise DrillFailed(f"No event is {way}: {counts}.")
                time.sleep(0.5)
        opened: set[str] = set()
        while not {"sign_in_lost", "expiring", "dead_letters"} <= opened:
            if time.monotonic() > until:
                raise DrillFailed(f"Only these incidents opened: {sorted(opened)}.")
            time.sleep(0.5)
            opened = {
                item["kind"] for item in self._stage.call("GET", "/incidents?state=open&limit=200")["items"]
            }

    def _compare(self, key: tuple[str, str], target: Example) -> None:
        self._stage.drain(destination=target)
        ids, totals = self._stage.delivered(target)
        if (lost := len(self._sent[key] - ids)) or totals["other_bytes"]:
            self.problems.append(f"{key[0]}: {lost} lost, {totals['other_bytes']} with other content")

    def _control(self, target: Example, action: str, body: Any = None) -> Any:
        return self._stage.call("POST", f"/destinations/{target.destination_id}/{action}", body)

    def _post(self, target: Example, key: tuple[str, str], day: int, events: int) -> None:
        """Post events that are `day` days and 23 hours old."""
        at = datetime.now(UTC) - timedelta(days=day, hours=23)
        ids = [f"{'-'.join(key)}-{day}-{events}-{place}" for place in range(events)]
        self._stage.call("POST", "/events", [event_of(event_id, target, at) for event_id in ids])
        self._sent.setdefault(key, set()).update(ids)
