"""Random mappings in the whole language, and random events for them.

`python -m tests.domain.random_pairs 1000000 --seed 1` converts so many pairs, and prints what became of them,
the most steps and the most CPU of one event. It ends with 1 if a law of `broken_laws` does not hold.
"""

import argparse
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from app.api.http.responses import exact_json
from app.domain.conversion.amazon_codes import EVENT_SOURCES, EVENT_TYPES, PURCHASE
from app.domain.conversion.convert import Conversion, ConversionPlan, Rules, Work
from app.domain.conversion.tcf import consent_to_all
from app.domain.destination import Region
from app.domain.event import Event, Rejection
from app.domain.identity.keys import MATCH_KEYS, Profile
from app.domain.mapping.document import FIELDS, MATCH_KEY_FIELDS, Mapping, compile_mapping
from app.domain.mapping.pipes import PIPES
from app.domain.mapping.reading import MAX_STEPS
from app.domain.observed.preview import preview
from app.domain.outcomes.reasons import INGEST_REASONS, WARNINGS
from sandbox.rules import judge

CANARY: Final = "Zq7canary"  # stands in values of events, and nowhere else
NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
MAX_CPU_SECONDS: Final = 0.5  # of one event; the machine may be slow
_PATHS: Final = (
    "user.email", "user.phone", "user.id", "user.name", "user.country", "user.zip", "user.ip", "user.flag",
    "event.at", "event.kind", "event.total", "event.count", "event.note", "items[*].price", "items[0].price",
    "items[-1].name", "items[*].tags[*]", "items", "consent.ads", "nothing.here", "user", '["odd name"].x',
)  # fmt: skip
_TEXTS: Final = (
    "", " ", "x", "Ada", "ada@example.com", "ada%2540example.com", "+4915112345678", "(555) 010-0199", "US",
    "de",
    "EUR", "US$ 1,234.50", "1.234,5 €", "12", "-3.75", "1e3", "true", "No", "2026-11-24T10:00:00Z",
    "24.11.2026 10:00", "1795514400", "8.8.8.8, 10.0.0.1:80", "a,b,c", "Zürich", "李", "\u202eabc", "a\tb",
    "6d92078a-8246-4ba4-ae5b-76104861e7dc", "abcDEF1234.1767225600000", "GRANTED", "x" * 300, "y" * 1100,
    "z" * 9000, PURCHASE, "LEAD", "WEBSITE", "0123456789abcdef:x", "@" * 50, "+1" * 60, "%25" * 80,
    CANARY, f"{CANARY} has an at sign, alone: @", f"{CANARY}\0",
)  # fmt: skip
_NUMBERS: Final = (0, 1, 2134, -1, 10**13, 10**400, 1795514400, 1795514400123, Decimal("2.0"),
                   Decimal("19.99"),
                   Decimal("1E+30"), Decimal("-0.001"), Decimal("0.30000000000000004"))  # fmt: skip
_ADDRESS: Final = re.compile(r"[^\s@]@[^\s@]+\.[^\s@.]").search
_ORDER: Final = [rule.type.value for rule in MATCH_KEYS]
_AGES: Final = (-301, -299, 1_814_399, 1_814_401)  # seconds: 5 minutes ahead, 21 days
_FORMS: Final = [written for row in PIPES.values() for written, _ in row.examples]
_LISTED: Final = [
    ["sum", "price", "count"],
    ["sum", "price", {"missing": "skip", "decimal": ","}],
    ["pluck", "price"],
    ["where", "price", "above", 1],
    "count",
    "sum",
    "join",
    "unique",
    "first",
]


class Pair(NamedTuple):
    """A random event, and a plan from a random mapping."""

    content: dict[str, Any]
    document: dict[str, Any]
    plan: ConversionPlan


def random_value(rng: random.Random, depth: int = 0) -> Any:
    """Return a value of any JSON type."""
    choice = rng.random()
    if choice < 0.6:
        return rng.choice(_TEXTS)
    if choice < 0.85:
        return rng.choice(_NUMBERS)
    if choice < 0.93 or depth > 2:
        return rng.choice((None, True, False))
    if choice < 0.97:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice("abc"): random_value(rng, depth + 1) for _ in range(rng.randrange(3))}


def nested_value(rng: random.Random, names: Sequence[str], depth: int = 0) -> Any:
    """Return a value of any JSON type, whose members have some of these names."""
    choice = rng.random()
    if depth > 4 or choice < 0.5:
        return random_value(rng)
    if choice < 0.65:
        return [nested_value(rng, names, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(names): nested_value(rng, names, depth + 1) for _ in range(rng.randrange(6))}


def random_event(rng: random.Random) -> dict[str, Any]:
    """Return an event; each part is usually as customers send it, and sometimes anything."""

    def mostly(*usual: Any) -> Any:
        return rng.choice(usual) if rng.random() < 0.8 else random_value(rng)

    ago = timedelta(seconds=rng.choice(_AGES) if rng.random() < 0.1 else rng.randrange(1_814_400))
    length = rng.choice((0, 1, 2, 3, 3, 40)) if rng.random() < 0.99 else rng.choice((1_999, 2_001, 5_000))
    item = {"price": mostly("19,99", Decimal("5.5"), 3), "count": mostly(1, 2), "name": mostly("Shoe"),
            "tags": mostly(["a", "b"])}  # fmt: skip
    content = {
        "user": {
            "email": mostly(f"{CANARY}@example.com", "Bob@Example.com "),
            "phone": mostly("+4915112345678", 4155552671),
            "id": mostly(f"{CANARY}-17", 1001),
            "name": mostly(CANARY, "Jürgen"),
            "country": mostly("US", "DE"),
            "zip": mostly(2134, "10115"),
            "ip": mostly("8.8.8.8", "10.0.0.1, 1.1.1.1"),
            "flag": mostly(True, "true"),
        },
        "event": {
            "at": mostly((NOW - ago).isoformat(), int((NOW - ago).timestamp())),
            "kind": mostly(PURCHASE, "LEAD"),
            "source": mostly(*EVENT_SOURCES),
            "total": mostly(Decimal("19.99"), Decimal("5.125"), "1.234,50 €", 7),
            "count": mostly(1, 2),
            "note": mostly(f"gift {CANARY}", "x@y.example"),
            "currency": mostly("EUR", "jpy"),
        },
        "items": [dict(item) for _ in range(length)] if rng.random() < 0.95 else random_value(rng),
        "consent": {"ads": mostly("GRANTED", "no"), "tcf": mostly(consent_to_all())},
    }
    for name in list(content):
        if rng.random() < 0.03:
            content[name] = random_value(rng)
    return content


def _pipe(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.6:
        return {}
    return {
        "pipe": [rng.choice(_LISTED if rng.random() < 0.3 else _FORMS) for _ in range(rng.randrange(1, 4))]
    }


def _single(rng: random.Random, path: str) -> dict[str, Any]:
    choice = rng.random()
    if choice < 0.85:
        return {"path": path if rng.random() < 0.8 else rng.choice(_PATHS), **_pipe(rng)}
    if choice < 0.95:
        return {"template": f"{{{path}}}-{{{rng.choice(_PATHS[:13])}|trim}}", **_pipe(rng)}
    return {"const": rng.choice(_TEXTS[2:20])}


def random_source(rng: random.Random, path: str, *, on_error: bool = True) -> dict[str, Any]:
    """Return a source of any kind that usually reads this path."""
    if rng.random() < 0.15:
        members = [_single(rng, path) for _ in range(rng.randrange(2, 9))]
        source: dict[str, Any] = {"first_of": members, **_pipe(rng)}
    else:
        source = _single(rng, path)
    if "const" not in source and on_error and rng.random() < 0.3:
        source["on_error"] = rng.choice(("omit", "reject"))
    return source


_USUAL: Final = {
    "email": "user.email", "phone": "user.phone", "first_name": "user.name", "last_name": "user.name",
    "postal": "user.zip", "match_id": "user.id", "fip": "user.ip", "value": "event.total",
    "currency": "event.currency", "units_sold": "event.count", "event_id": "user.id", "ip_address": "user.ip",
    "user_agent": "event.note", "limited_data_use": "user.flag", "aref_measurement_tokens": "event.note",
}  # fmt: skip


def random_document(rng: random.Random) -> dict[str, Any]:
    """Return a mapping document that can usually be published."""
    others = [name for name in FIELDS if name not in MATCH_KEY_FIELDS]
    names = [*rng.sample(MATCH_KEY_FIELDS, rng.randrange(1, 6)), *rng.sample(others, rng.randrange(0, 6))]
    fields = {
        name: random_source(rng, _USUAL.get(name, rng.choice(_PATHS)), on_error=name != "limited_data_use")
        for name in names
        if name != "event_timestamp"
    }
    fields["event_timestamp"] = {"path": "event.at"}
    if rng.random() < 0.1:
        fields["event_timestamp"]["pipe"] = [
            ["time", {"formats": ["iso", "epoch_s", "DD.MM.YYYY HH:mm"], "zone": "Europe/Berlin"}]
        ]
    mode = rng.choice(("granted", "granted", "granted", "granted", "amazon", "tcf", "none"))
    read = {"amazon": {"user_data": "consent.ads"}, "tcf": {"string": "consent.tcf"}}.get(mode, {})
    return {
        "name": "Random",
        "event_type": rng.choice((PURCHASE, "LEAD", {"path": "event.kind"}, rng.choice(list(EVENT_TYPES)))),
        "event_source": rng.choice(("WEBSITE", {"path": "event.source"}, rng.choice(list(EVENT_SOURCES)))),
        "event_name": "Some event",
        "country_code": rng.choice(("US", "DE", {"path": "user.country", "default": "US"})),
        "fields": fields,
        "custom_data": [
            {"name": name, **random_source(rng, rng.choice(_PATHS[4:]))} for name in "abc"[: rng.randrange(4)]
        ],
        "consent": {"mode": mode, **read},
    }


def random_pairs(number: int, seed: int) -> Iterator[Pair]:
    """Yield pairs. Several events share a mapping, because compiling costs more than converting."""
    rng = random.Random(seed)
    made = 0
    while made < number:
        document = random_document(rng)
        mapping = compile_mapping(document)
        if not isinstance(mapping, Mapping):
            continue
        pins, dataset_name = rng.choice(({}, {}, {}, {"LEAD": "Other"})), rng.choice((None, "Shop_Events"))
        region, profile = rng.choice(list(Region)), rng.choice(list(Profile))
        currency = rng.choice(("USD", "JPY"))
        rules = Rules("dst_1", "map_1", 1, region, profile, currency, dataset_name, pins)
        plan = ConversionPlan(mapping, rules)
        for _ in range(min(10, number - made)):
            made += 1
            yield Pair(random_event(rng), document, plan)


def broken_laws(pair: Pair, *, previewed: bool) -> tuple[Conversion | Rejection, int, list[str]]:
    """Convert a pair. Return the outcome, the steps that it took, and which laws it breaks."""
    work, event = Work(), Event("e-1", "dst_1", "map_1", pair.content)
    before = work.left
    outcome = pair.plan.convert(event, "e-1", NOW, work=work)
    spent = before - work.left
    laws = {
        "takes steps up to the limit": 0 < spent <= MAX_STEPS,
        "shows no value": CANARY not in repr(outcome),
    }
    if isinstance(outcome, Rejection):
        laws |= _laws_of_rejection(outcome)
    else:
        laws |= _laws_of_conversion(outcome, pair.plan.rules)
    if previewed:
        laws["gives the same again"] = pair.plan.convert(event, "e-1", NOW) == outcome
        shown = json.loads(exact_json(preview(event, "e-1", pair.plan, now=NOW)))  # as a response has it
        if isinstance(outcome, Rejection):
            laws |= _laws_of_rejected_preview(shown, outcome)
        else:
            laws |= _laws_of_preview(shown, outcome, pair.plan.mapping)
    return outcome, spent, [law for law, holds in laws.items() if not holds]


def _laws_of_rejection(outcome: Rejection) -> dict[str, bool]:
    named = [outcome.reason, *(each.reason for each in outcome.also)]
    return {
        "has a code": bool(outcome.code),
        "has known reasons": set(named) <= INGEST_REASONS.keys(),
        "names at most ten problems": len(named) <= 10,
    }


def _laws_of_conversion(outcome: Conversion, rules: Rules) -> dict[str, bool]:
    sent = json.loads(outcome.body)
    clear = [sent["eventId"], *(key["values"][0] for key in sent["matchKeys"])]
    is_purchase = sent["eventDescription"]["conversionType"] == PURCHASE
    refusals = judge(sent, region=rules.region, now=NOW.timestamp())
    if rules.profile is not Profile.AMAZON:  # the other profiles send any text as an IP address
        refusals = [each for each in refusals if each.message != "Must be a full IPv4 or IPv6 address."]
    return {
        "keeps the rules of Amazon": refusals == [],
        "has a currency if it has a price": not is_purchase or "value" not in sent or "currencyCode" in sent,
        "has no address in clear": not any(map(_ADDRESS, clear)),
        "has known warnings": {warned.code for warned in outcome.warnings} <= WARNINGS.keys(),
        "has match keys in their order": sorted(outcome.match_keys, key=_ORDER.index)
        == [*outcome.match_keys],
        "names its match keys": tuple(key["type"] for key in sent["matchKeys"]) == outcome.match_keys,
        "names its event id": sent["eventId"] == outcome.amazon_event_id,
    }


def _laws_of_rejected_preview(shown: dict[str, Any], outcome: Rejection) -> dict[str, bool]:
    named = ("ok", "code", "reason", "field", "detail")
    also = [asdict(each) for each in outcome.also]
    rejected = (False, outcome.code, outcome.reason, outcome.field, outcome.detail, also)
    return {
        "the preview names the same problems": (*map(shown.get, named), shown.get("also", [])) == rejected,
        "the preview shows no value": CANARY not in json.dumps(shown),
    }


def _laws_of_preview(shown: dict[str, Any], outcome: Conversion, mapping: Mapping) -> dict[str, bool]:
    """The preview has the event that is sent, and no step shows a trait or an id in clear."""
    sent = json.loads(outcome.body)
    keys = {key["type"]: key["values"][0] for key in sent["matchKeys"]}
    traits = [step for step in shown["steps"] if step["field"] in MATCH_KEY_FIELDS and step["result"]]
    personal = [step for step in shown["steps"] if step["field"] in (*MATCH_KEY_FIELDS, "ip_address")]
    warned = [{"code": each.code, "field": each.field} for each in outcome.warnings]
    return {
        "the preview is accepted": shown["ok"] is True,
        "the preview shows the event": shown["amazon_event"] == sent,
        "the preview has the warnings": shown["warnings"] == warned,
        "the preview has each step": len(shown["steps"]) >= len(mapping.by_field) + len(mapping.custom_data),
        "the preview hides match keys": all(
            step["result"] in (f"sha256:{keys[step['field'].upper()][:8]}…", "…") for step in traits
        ),
        "the preview shows no person": CANARY not in json.dumps(personal),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    outcomes: Counter[str] = Counter()
    most_steps, most_cpu, slowest = 0, 0.0, None
    for place, pair in enumerate(random_pairs(asked.number, asked.seed)):
        begun = time.thread_time()
        outcome, steps, broken = broken_laws(pair, previewed=place % 10 == 0)
        cpu = time.thread_time() - begun
        if broken or cpu > MAX_CPU_SECONDS:
            print(f"pair {place} of seed {asked.seed}: {broken}, {cpu:.3f} s", pair.document, sep="\n")
            return 1
        outcomes["accepted" if isinstance(outcome, Conversion) else outcome.reason] += 1
        most_steps = max(most_steps, steps)
        if cpu > most_cpu:
            most_cpu, slowest = cpu, place
    print(f"{asked.number:,} pairs of seed {asked.seed}: {dict(outcomes.most_common())}")
    print(f"most steps {most_steps:,}; most CPU {most_cpu * 1e3:.1f} ms (pair {slowest})")
    return 0
