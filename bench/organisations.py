"""The latency of one organisation alone, and while another posts ten times the capacity."""

import json
import subprocess
import sys
import time
from dataclasses import asdict

import httpx

from bench.load import Plan, Posted
from bench.pipeline import Pipeline, create_destination, post
from bench.report import quantile, table
from bench.stage import Stage

_FLOOD_CONNECTIONS = 64
_FLOOD_EVENTS_A_POST = 100
_FLOOD_POSTS = 1_000  # then the same again, with other ids
_QUIET_POSTS_A_SECOND = 20.0


def run(running: Stage, pipeline: Pipeline, *, seconds: float) -> None:
    """Print the accept latencies of the quiet organisation, alone and during the flood."""
    flooding, quiet = (_organisation(running, number) for number in (1, 2))
    best = post(
        _plan(running, *flooding, "capacity", posts=400, connections=8, per_post=_FLOOD_EVENTS_A_POST)
    )
    capacity = best.accepted / (max(at for at in best.answered if at is not None) - best.began)
    alone = post(_quiet(running, quiet, "alone", seconds))
    offered = 10 * capacity / _FLOOD_EVENTS_A_POST
    flood = _started(
        _plan(
            running,
            *flooding,
            "flood",
            posts=_FLOOD_POSTS,
            times=int(offered * (seconds + 2) / _FLOOD_POSTS),
            connections=_FLOOD_CONNECTIONS,
            per_post=_FLOOD_EVENTS_A_POST,
            per_second=10 * capacity,
        )
    )
    try:
        time.sleep(2)
        beside = post(_quiet(running, quiet, "beside", seconds))
    finally:
        flood.kill()
        flood.wait()
    print(
        f"## An organisation while another one posts at ten times the capacity ({capacity:,.0f} events/s)\n"
    )
    head = ("", "posts", "answered 202", "accept p50 ms", "p99", "highest")
    print(table(head, [_row("alone", alone), _row("together", beside)]))
    ratio = quantile(_latencies(beside), 0.99) / quantile(_latencies(alone), 0.99)
    print(f"p99 together / alone: {ratio:.2f}. Refused: {beside.failures}.\n", flush=True)


def _organisation(running: Stage, number: int) -> tuple[str, str]:
    """Create an organisation with a key and a destination; return key and destination id."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{running.settings.port}",
        headers={"X-Api-Key": running.key, "Accept": "application/json"},
        timeout=60,
    ) as client:
        made = client.post("/organisations", json={"name": f"Bench {number}"}).raise_for_status().json()
        scopes = ["events:write", "destinations:read", "destinations:write"]
        key = client.post(
            f"/keys?organisation_id={made['id']}", json={"name": "Bench", "scopes": scopes}
        ).raise_for_status().json()["key"]  # fmt: skip
        client.headers["X-Api-Key"] = key
        return key, create_destination(client, number)


def _plan(
    running: Stage, key: str, destination: str, run: str, *, posts: int, connections: int, per_post: int,
    per_second: float | None = None, times: int = 1,
) -> Plan:  # fmt: skip
    return Plan(
        port=running.settings.port,
        key=key,
        run=f"{run}-{time.time_ns()}",
        events=posts * per_post,
        per_post=per_post,
        destinations=[destination],
        connections=connections,
        per_second=None if per_second is None else per_second / per_post,
        times=times,
    )


def _quiet(running: Stage, organisation: tuple[str, str], run: str, seconds: float) -> Plan:
    return _plan(
        running,
        *organisation,
        run,
        posts=int(_QUIET_POSTS_A_SECOND * seconds),
        connections=_FLOOD_CONNECTIONS,
        per_post=1,
        per_second=_QUIET_POSTS_A_SECOND,
    )


def _started(plan: Plan) -> "subprocess.Popen[bytes]":
    """Post in the background with low CPU priority; ignore the result."""
    process = subprocess.Popen(
        ["nice", "-n", "19", sys.executable, "-m", "bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(plan)).encode())
    process.stdin.close()
    return process


def _latencies(posted: Posted) -> list[float]:
    return [(at - due) * 1e3 for due, at in zip(posted.due, posted.answered, strict=True) if at is not None]


def _row(name: str, posted: Posted) -> tuple[object, ...]:
    latencies = _latencies(posted)
    return (
        name, len(posted.due), len(latencies), quantile(latencies, 0.5), quantile(latencies, 0.99),
        max(latencies, default=float("nan")),
    )  # fmt: skip
