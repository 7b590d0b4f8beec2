"""The rows of `./run campaign single-faults`: each breaks one thing, and has bounds for everything else."""

from dataclasses import dataclass

from campaigns.chaos import faults
from campaigns.chaos import host_faults as host
from campaigns.chaos import outside_faults as outside
from campaigns.chaos.faults import Fault, lease_session, session, signalled

ADVERTISERS = 6


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, how long it lasts, and the bounds: the gap between 202s, and the delay of the others.

    All in seconds, and in this order.
    """

    name: str
    fault: Fault
    lasts: float = 35.0
    gap: float = 6.0
    delay: float = 10.0
    apis: int = 1
    workers: int = 2
    advertisers: int = ADVERTISERS
    signs: frozenset[str] = frozenset()  # at least one of these is reported while the fault lasts
    jumps: str | None = None  # the process whose clock jumps


def one_of(*signs: str) -> frozenset[str]:
    return frozenset(signs)


_DATABASE = ("api", "worker")  # the ways to it
_LANE = "SELECT FROM lanes WHERE id = (SELECT lane FROM destinations WHERE number = {}) FOR UPDATE"
_FLUSH_LOCK = "SELECT pg_advisory_xact_lock_shared(7301)"
_FAILING = one_of("failing")
_NOT_READY = one_of("flushes_refused", "database_unavailable", "database_refused", "no answer")
# A minute of failures, two restarts, and the wait after seven of them (`RetryPolicy`).
_AFTER_BACKOFF = 60 + 2 * 20 + 128.0
_CLOCK = one_of("clock_off")
_OFFSETS = {
    f"{size} {way}": f"{sign}{offset}"
    for size, offset in (("5 min", "5m"), ("2 h", "2h"), ("40 days", "40d"))
    for way, sign in (("ahead", "+"), ("late", "-"))
}
_NEVER, _SLOW = {"kind": "never"}, {"kind": "slow", "ms": 20_000}
_SLOW_TOKENS = {"kind": "token_slow", "ms": 60_000}


def _of_many(name: str, fault: Fault, lasts: float) -> Row:
    """Return a row with one worker for 18 advertisers."""
    return Row(name, fault, lasts, workers=1, advertisers=18)


ROWS: tuple[Row, ...] = (
    Row("L1 a worker is frozen", faults.frozen("workers"), lasts=75),
    Row("L2 an advertiser hangs", outside.of_amazon(_NEVER, touched=1)),
    Row("L2 an advertiser answers after 80 s", outside.of_amazon({"kind": "slow", "ms": 80_000}, touched=1)),
    _of_many("L2b 13 of 18 hang, 1 worker", outside.of_amazon(_NEVER, touched=13), 45),
    _of_many("L2b 13 of 18 answer after 20 s", outside.of_amazon(_SLOW, touched=13), 60),
    _of_many("L2b 5 of 18 answer after 20 s", outside.of_amazon(_SLOW, touched=5), 45),
    Row("a state row names another destination", faults.misplaced_batch, 20),
    Row("the session of lane leases is frozen", signalled(lease_session), 60, delay=45),
    Row(
        "the session of the incident monitor is frozen", signalled(session("%INSERT INTO commit_probes%")), 60
    ),
    Row(
        "the session of the erasure scan is frozen",
        signalled(session("%FROM erasures%", application="conversions-worker"), erases=True),
        75,
    ),
    Row(
        "the session of a flush is frozen",
        signalled(session("%store_flush%")),
        gap=60,
        delay=60,
        signs=_NOT_READY,
    ),
    Row("a row of lanes is locked", faults.holding_rows(_LANE)),
    Row("a row of lanes is locked, 1 worker", faults.holding_rows(_LANE), 60, workers=1),
    Row("a row of lanes is locked, and a person is erased", faults.holding_rows(_LANE, erases=True)),
    Row(
        "the only worker is frozen in a transaction, and a person is erased",
        faults.frozen_in_transaction,
        workers=1,
        delay=100,
    ),
    Row("the flush lock is held shared, and a person is erased", faults.holding(_FLUSH_LOCK, erases=True)),
    Row(
        "a report reads batches, the partition of a later day is due",
        faults.partitions_dropped("batches", "attempts", after=5, reader=True),
    ),
    Row(
        "a report reads batches, tomorrow's partition is missing",
        faults.partitions_dropped("batches", "attempts", after=0, reader=True),
    ),
    Row(
        "partitions of attempts from tomorrow on are dropped",
        faults.partitions_dropped("attempts", after=0, reader=False),
        15,
    ),
    Row("the rows of counts are locked", faults.holding("SELECT FROM counts FOR UPDATE"), gap=12),
    Row(
        "the row of a destination is locked",
        faults.holding_rows("SELECT FROM destinations WHERE number = {} FOR UPDATE"),
    ),
    Row(
        "open batches of a destination are locked",
        faults.holding_rows("SELECT FROM batch_states WHERE destination = {} FOR UPDATE"),
    ),
    Row(
        "the locks of maintenance are held",
        faults.holding("SELECT pg_advisory_xact_lock(7302)", "SELECT pg_advisory_xact_lock(7303)"),
    ),
    Row("Amazon is half open for all", outside.silent("amazon"), 60, delay=120, signs=_FAILING),
    Row("connections to Amazon are half open", outside.silent("amazon", open_only=True), delay=30),
    Row("Postgres is half open for all", outside.silent(*_DATABASE), 50, 100, 120, signs=_NOT_READY),
    Row(
        "connections to Postgres are silent",
        outside.silent(*_DATABASE, open_only=True),
        60,
        gap=45,
        delay=60,
        signs=_NOT_READY,
    ),
    Row("connections of one worker to Postgres are silent", outside.silent(*_DATABASE, worker=1), 75, 6, 75),
    Row("Postgres is 200 ms away", outside.slow(*_DATABASE, latency=0.1), gap=8, delay=15),
    *(
        Row(f"the clock of a worker is {words}", host.wrong_clock("worker-0", offset), 25, 45, 60)
        for words, offset in _OFFSETS.items()
    ),
    *(
        Row(f"the clock of the API is {words}", host.wrong_clock("api-0", offset), 25, 45, 60, signs=_CLOCK)
        for words, offset in _OFFSETS.items()
        if "5 min" not in words
    ),
    *(
        Row(
            f"the clock of one of two APIs is {words}",
            host.wrong_clock("api-0", offset),
            25,
            45,
            60,
            apis=2,
            signs=_CLOCK,
        )
        for words, offset in (("an hour late", "-1h"), ("40 days ahead", "+40d"))
    ),
    Row("the clock of the whole host is 40 days ahead, and back", host.host_ahead, 25, 45, 60),
    *(
        Row(f"the clock of {which} jumps 2 h {way}", host.clock_jumps(name, offset), 25, jumps=name)
        for which, name in (("a running worker", "worker-0"), ("the running API", "api-0"))
        for way, offset in (("ahead and back", "+2h"), ("back and ahead", "-2h"))
    ),
    Row("the clock of Postgres jumps 2 h ahead and back", host.clock_of_postgres_jumps("+2h"), 40, 25, 60),
    Row("the clock of Postgres jumps 2 h back and ahead", host.clock_of_postgres_jumps("-2h"), 40, 25, 60),
    Row("connections of Postgres are used up, a worker is killed", faults.connections_used_up, 25, delay=45),
    Row("Postgres restarts three times", faults.restarts(kills=False), 15, gap=25, delay=40),
    Row("Postgres is killed three times", faults.restarts(kills=True), 15, gap=25, delay=40),
    *(
        Row(f"the token endpoint {words}", outside.without_tokens(fault), 60, delay=120, signs=_FAILING)
        for words, fault in (("hangs", _SLOW_TOKENS), ("answers 500", {"kind": "token_5xx"}))
    ),
    Row(
        "the name of Amazon does not resolve",
        host.restaffed(settings={"AMAZON_BASE_URL": "http://amazon.invalid:8001"}),
        45,
        gap=45,
        delay=120,
        signs=_FAILING,
    ),
    Row("the name server is silent", host.silent_name_server, 60, 45, _AFTER_BACKOFF, signs=_FAILING),
    Row("a TLS handshake with Amazon hangs", host.hanging_handshake, 60, 45, _AFTER_BACKOFF, signs=_FAILING),
    Row(
        "number sequences are exhausted",
        faults.sequences_exhausted,
        20,
        gap=40,
        delay=60,
        signs=one_of("flushes_refused", "database_refused"),
    ),
    Row(
        "a Retry-After of 999999999 s",
        outside.of_amazon({"kind": "429", "retry_after": 999_999_999, "times": 1}, touched=1),
        10,
    ),
    Row("300 persons are erased, 50,000 events are stored", faults.erasures(300, posts=100), 40, workers=1),
    Row(
        "own: the synchronous standby is gone",
        faults.setting("synchronous_standby_names", "gone"),
        40,
        gap=80,
        delay=80,
        signs=_NOT_READY,
    ),
    Row("own: a worker crashes every three seconds", faults.crash_loop, 45, delay=20),
    Row(
        "own: Postgres is read-only",
        faults.setting("default_transaction_read_only", "on"),
        30,
        gap=60,
        delay=60,
        signs=_NOT_READY,
    ),
    Row("own: a worker can open no file", host.no_files, 45),
)
