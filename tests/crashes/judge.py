"""The judge: compares the responses to callers, the database and the requests to the stand-in.

Each promise is one function from the evidence to the ways in which it was broken. The judge looks at
records only; it asks nothing of the service and is never killed with it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from tests.crashes.evidence import FINAL, STATES, Evidence, Objection

REQUEST_DEADLINE_S = 25.0  # the client's timeout (app/amazon/client.py), whatever the stand-in still does

Rule = Callable[[Evidence], Iterator[str]]


def judge(evidence: Evidence) -> list[Objection]:
    """Return every broken promise; an empty list is an acquittal."""
    return [Objection(rule.__name__, about) for rule in RULES for about in rule(evidence)]


def acknowledged_is_stored(seen: Evidence) -> Iterator[str]:
    """202 means on disk."""
    yield from _some("acknowledged, not stored", seen.acknowledged - seen.stored.keys())


def nothing_is_invented(seen: Evidence) -> Iterator[str]:
    """What is stored was offered; what was sent is stored."""
    yield from _some("stored, never offered", seen.stored.keys() - seen.offered)
    sent = {event for request in seen.requests for event in request.ids}
    yield from _some("sent, not stored", sent - seen.stored.keys())


def refused_stays_out(seen: Evidence) -> Iterator[str]:
    """What was rejected on receipt is neither stored nor sent."""
    yield from _some("rejected, yet stored", seen.refused & seen.stored.keys())
    yield from _some("rejected and acknowledged", seen.refused & seen.acknowledged)


def one_state_each(seen: Evidence) -> Iterator[str]:
    """Stored is the disjoint union of the states, and the API tells the same of each id."""
    yield from _some(
        "in several places", {event for event, states in seen.stored.items() if len(states) != 1}
    )
    unknown = {event for event, states in seen.stored.items() if not STATES.issuperset(states)}
    yield from _some("in an unknown state", unknown)
    if seen.listed is not None:
        differing = {
            event
            for event in seen.stored.keys() | seen.listed.keys()
            if sorted(seen.stored.get(event, [])) != sorted(seen.listed.get(event, []))
        }
        yield from _some("reported otherwise by the API than by the database", differing)


def delivered_was_accepted(seen: Evidence) -> Iterator[str]:
    """Nothing is called delivered that the stand-in did not accept."""
    taken = {event for request in seen.requests for event in request.accepted}
    yield from _some("delivered, never accepted", _in_state(seen, "delivered") - taken)


def one_wording_each(seen: Evidence) -> Iterator[str]:
    """Every send of an id is the same bytes."""
    wordings: dict[str, set[str]] = defaultdict(set)
    for request in seen.requests:
        for event, digest in zip(request.ids, request.hashes, strict=True):
            wordings[event].add(digest)
    yield from _some(
        "sent in several wordings", {event for event, digests in wordings.items() if len(digests) > 1}
    )


def once_a_request(seen: Evidence) -> Iterator[str]:
    """No request holds an id twice."""
    for request in seen.requests:
        twice = {event for event, times in Counter(request.ids).items() if times > 1}
        yield from _some(f"twice in request {request.number}", twice)


def never_two_at_once(seen: Evidence) -> Iterator[str]:
    """No two requests for an id are under way at once."""
    spans: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for request in seen.requests:
        # A sender that was killed or cut off is gone for the stand-in at the latest by its own deadline.
        over = min(request.ended, request.began + REQUEST_DEADLINE_S)
        for event in request.ids:
            spans[event].append((request.began, over, request.number))
    pairs: dict[tuple[int, int], set[str]] = defaultdict(set)
    for event, of_id in spans.items():
        for (_, over, first), (began, _, second) in pairwise(sorted(of_id)):
            if began < over - seen.moment - seen.transit:
                pairs[first, second].add(event)
    for (first, second), ids in sorted(pairs.items()):
        yield from _some(f"in requests {first} and {second} at once", ids)


def acceptance_ends_it(seen: Evidence) -> Iterator[str]:
    """An id is sent again only after an unknown outcome: never once a clear acceptance was written down."""
    settled = {one.number: one.settled for one in seen.attempts if one.number is not None and one.settled}
    done: dict[str, float] = {}
    for request in seen.requests:
        if request.clear and (moment := settled.get(request.number)) is not None:
            for event in request.accepted:
                done[event] = min(moment, done.get(event, moment))
    for request in seen.requests:
        again = {
            event
            for event in request.ids
            if event in done and request.began > done[event] + seen.moment + seen.transit
        }
        yield from _some(f"sent in request {request.number} after it was known to be accepted", again)


def windows_are_obeyed(seen: Evidence) -> Iterator[str]:
    """No request is sent inside a Retry-After window once its 429 was read.

    That it was read, and by when, is what the settled attempt says that names the stand-in's request.
    """
    settled = {one.number: one.settled for one in seen.attempts if one.number is not None and one.settled}
    for throttled in seen.requests:
        read_at = settled.get(throttled.number)
        if throttled.status != 429 or throttled.retry_after is None or read_at is None:
            continue
        begins, ends = read_at + seen.transit + seen.moment, throttled.ended + throttled.retry_after
        for request in seen.requests:
            if request.advertiser == throttled.advertiser and begins < request.began < ends - seen.moment:
                yield (
                    f"request {request.number} came {request.began - read_at:.3f} s after the 429 of request "
                    f"{throttled.number} was settled, {ends - request.began:.3f} s before its window ended"
                )


def stops_hold(seen: Evidence) -> Iterator[str]:
    """Nothing is sent after a pause, park or disconnect was answered, until its end was asked for."""
    for stop in seen.stops:
        for request in seen.requests:
            if request.advertiser != stop.advertiser or not (
                stop.since + seen.moment + seen.transit < request.began < stop.until
            ):
                continue
            if stop.ids is None or stop.ids.intersection(request.ids):
                yield f"request {request.number} came {request.began - stop.since:.3f} s after {stop.action}"


def only_the_guilty_die(seen: Evidence) -> Iterator[str]:
    """Trouble on the way, a pause or a lost sign-in kills nothing."""
    yield from _some("dead without a cause", _in_state(seen, "dead") - seen.guilty)
    yield from _some("expired within minutes", _in_state(seen, "expired"))
    yield from _some("erased unasked", _in_state(seen, "erased") - seen.erasable)


def everything_ends(seen: Evidence) -> Iterator[str]:
    """With all faults gone, what was stored reaches a final state."""
    waiting = {event for event, states in seen.stored.items() if not FINAL.issuperset(states)}
    yield from _some("still waiting when time was up", waiting)


def counts_add_up(seen: Evidence) -> Iterator[str]:
    """At every moment `accepted` is the sum of the states, none is negative, and accepted never falls."""
    highest: dict[str, int] = {}
    for sample in sorted(seen.samples, key=lambda one: one.at):
        counts = sample.counts
        if counts["accepted"] != sum(counts[state] for state in STATES):
            yield f"{sample.destination} at {sample.at:.3f}: {dict(counts)}"
        if any(number < 0 for number in counts.values()):
            yield f"{sample.destination} at {sample.at:.3f}: negative, {dict(counts)}"
        if counts["accepted"] < highest.get(sample.destination, 0):
            yield f"{sample.destination} at {sample.at:.3f}: accepted fell to {counts['accepted']}"
        highest[sample.destination] = max(counts["accepted"], highest.get(sample.destination, 0))


def counts_are_the_sets(seen: Evidence) -> Iterator[str]:
    """At the end each count is the size of its set."""
    if seen.final_counts is None:
        return
    sizes = Counter(state for states in seen.stored.values() for state in states)
    for state in sorted(STATES):
        if seen.final_counts[state] != sizes[state]:
            yield f"{state}: counted {seen.final_counts[state]}, stored {sizes[state]}"


def a_fresh_event_flows(seen: Evidence) -> Iterator[str]:
    """After all of it, a new event goes through."""
    yield from _some(
        "posted at the end, not delivered", {event for event, arrived in seen.fresh.items() if not arrived}
    )


def back_to_baseline(seen: Evidence) -> Iterator[str]:
    """Memory, connections, leases and open attempts are what they were."""
    yield from seen.leftovers


RULES: tuple[Rule, ...] = (
    acknowledged_is_stored,
    nothing_is_invented,
    refused_stays_out,
    one_state_each,
    delivered_was_accepted,
    one_wording_each,
    once_a_request,
    never_two_at_once,
    acceptance_ends_it,
    windows_are_obeyed,
    stops_hold,
    only_the_guilty_die,
    everything_ends,
    counts_add_up,
    counts_are_the_sets,
    a_fresh_event_flows,
    back_to_baseline,
)


def _in_state(seen: Evidence, state: str) -> set[str]:
    return {event for event, states in seen.stored.items() if state in states}


def _some(what: str, ids: Iterable[str]) -> Iterator[str]:
    """One line for all ids of one kind: how many, and the first few."""
    if found := sorted(ids):
        yield f"{len(found)} {what}: {', '.join(found[:5])}{' …' if len(found) > 5 else ''}"
