"""`./run campaign fuzzing --examples 100000 --seed 1`: fuzz the readers of what others write.

Inputs are the lines of `corpus/`, mutated: cut, repeated, spliced, with single letters changed. A reader
returns a value or a declared refusal. It does not raise, does not take long, and names no value of a person.
"""

import argparse
import ast
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.amazon.wire import read_reply
from app.domain.conversion.amazon_codes import COUNTRIES
from app.domain.identity import clean, match_key
from app.domain.identity.keys import MATCH_KEYS, DropReason, MatchKey, Profile
from app.domain.mapping.paths import MAX_STEPS, UNREACHABLE, parse_path, walk
from app.domain.outcomes.outcome import PerItemReply
from app.domain.strict_json import SENTENCES, MalformedJson, parse

CORPUS = Path(__file__).parent / "corpus"
# Processor time of one call, in seconds; inputs have at most MAX_LENGTH bytes or letters.
LIMIT_S, MAX_LENGTH = 0.5, 200_000
PERSON = ("ada@example.com", "bob@example.com", "5550100199")
CONVERSIONS = [
    b'{"eventId":"e0","matchKeys":[{"type":"EMAIL","values":["aa"]}]}',
    b'{"eventId":"e1","matchKeys":[{"type":"MAID","values":["AEBE52E7-03EE-455A-B3C4-E57283966239"]}]}',
]


class Finding(Exception):
    """An input that breaks a law of its reader."""


def seeds(name: str) -> list[Any]:
    """Return the lines of a corpus."""
    return [ast.literal_eval(line) for line in (CORPUS / f"{name}.txt").read_text().splitlines()]


def mutated(source: random.Random, corpus: list[Any]) -> Any:
    """Return one line of the corpus with up to six changes."""
    value = source.choice(corpus)
    for _ in range(source.randrange(7)):
        place = source.randrange(len(value) + 1)
        other = source.choice(corpus)
        end = place + source.randrange(9)
        match source.randrange(6):
            case 0:
                value = value[:place] + value[end:]
            case 1:
                value = value[:place] + value[place:end] * source.randrange(1, 40) + value[end:]
            case 2:
                value = value[:place] + other[source.randrange(len(other) + 1) :]
            case 3:
                value = value[:place] + other + value[place:]
            case 4:
                value = value[:place] + _letter(source, value) + value[place + 1 :]
            case _:
                value = value[place:] + value[:place]
    return value[:MAX_LENGTH]


def _letter(source: random.Random, value: Any) -> Any:
    if isinstance(value, bytes):
        return bytes([source.randrange(256)])
    return chr(source.choice([source.randrange(128), source.randrange(0x3000), source.randrange(0x110000)]))


def _no_person(text: str) -> None:
    if any(value in text for value in PERSON):
        raise Finding("a person's value in an error")


def read_body(body: bytes) -> None:
    """The strict parser: a value or a word of `SENTENCES`; a value reads the same when written again."""
    read = parse(body)
    if isinstance(read, MalformedJson):
        _no_person(repr(read))
        if read.why not in SENTENCES or not (read.offset is None or 0 <= read.offset <= len(body)):
            raise Finding(f"no declared refusal: {read.why}")


EVENTS: list[Any] = [
    {},
    {"a": {"b": [{"c": 1}], "c": "x"}},
    {"a": [1, None]},
    {"a": "x", "utm source": {"medium": 1}},
]


def read_path(text: str) -> None:
    """Mapping paths: None, or at most `MAX_STEPS` steps that read any event."""
    steps = parse_path(text)
    if steps is None:
        return
    if not 1 <= len(steps) <= MAX_STEPS:
        raise Finding("a path with too many steps")
    for event in EVENTS:
        found = walk(event, steps)
        if found is not None and found is not UNREACHABLE and not _occurs(found, event):
            raise Finding("a path reads what the event does not hold")


def _occurs(found: Any, value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return found is value or any(_occurs(found, each) for each in inside)


def read_trait(text: str) -> None:
    """Identity: a key or a reason, for every profile and match key; neither shows the trait."""
    number = len(text) + sum(map(ord, text[:8]))
    country = sorted(COUNTRIES)[number % len(COUNTRIES)]
    for profile in Profile:
        rule = MATCH_KEYS[number % len(MATCH_KEYS)]
        for each in {rule.field: rule, MATCH_KEYS[0].field: MATCH_KEYS[0]}.values():
            key = match_key(profile, each, text, country=country)
            if not isinstance(key, MatchKey | DropReason):
                raise Finding("neither a key nor a reason")
            if isinstance(key, DropReason) and clean(profile, each, text, country=country):
                raise Finding("a dropped trait has a cleaned text")
            _no_person(repr(key))


def read_207(body: bytes) -> None:
    """Amazon's reply: one outcome for each conversion, and no value of a person in what is kept."""
    for status in (207, 400, 422):
        reply = read_reply(status, {}, body, CONVERSIONS)
        if isinstance(reply, PerItemReply) and len(reply.outcomes) != 2:
            raise Finding("not one outcome for each conversion")
        _no_person(repr(reply))


TARGETS: dict[str, Callable[[Any], None]] = {
    "json": read_body,
    "paths": read_path,
    "traits": read_trait,
    "replies": read_207,
}


def check(name: str, value: Any) -> None:
    """Hold one input to the laws of its reader; raises `Finding`."""
    begun = time.process_time()
    try:
        TARGETS[name](value)
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"raised {type(error).__name__}") from error
    if (took_s := time.process_time() - begun) > LIMIT_S:
        raise Finding(f"took {took_s:.1f} s for {len(value)} letters")


def fuzz(name: str, examples: int, seed: int) -> list[str]:
    """Check the corpus and so many mutated inputs; returns the findings."""
    source, corpus = random.Random(f"{name} {seed}"), seeds(name)
    findings = []
    for number in range(examples):
        value = corpus[number] if number < len(corpus) else mutated(source, corpus)
        try:
            check(name, value)
        except Finding as finding:
            findings.append(f"{finding}: {ascii(value)[:200]}")
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100_000, help="for each reader")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    good = True
    for name in TARGETS:
        begun = time.monotonic()
        findings = fuzz(name, options.examples, options.seed)
        took_s = time.monotonic() - begun
        print(f"{name}: {options.examples} inputs, {len(findings)} findings, {took_s:.0f} s", flush=True)
        print("\n".join(f"    {finding}" for finding in findings[:20]), end="\n" if findings else "")
        good = good and not findings
    return 0 if good else 1
