"""What spans over OTLP cost: CPU per event with 1 % of the requests traced, relative to none.

Needs the packages of `requirements/otlp.txt`.
"""

import http.server
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from app.settings import Settings
from bench.pipeline import Pipeline, Round
from bench.report import middle, table
from bench.stage import Stage

SAMPLE_PERCENT = 1
_RUNS = ((100, 40_000, 4), (1, 10_000, 64))


def run(running: Stage, pipeline: Pipeline, *, rounds: int) -> None:
    """Print the ratio of CPU per event with spans to that without, interleaved, in alternating order."""
    off = running.settings
    ratios: dict[int, list[float]] = defaultdict(list)
    with _collector() as (address, received):
        on = off.model_copy(update={"otlp_endpoint": address, "otlp_sample_percent": SAMPLE_PERCENT})
        for number in range(rounds):
            order = (off, on) if number % 2 else (on, off)
            measured = {settings is on: _measure(running, pipeline, settings) for settings in order}
            for per_post, with_spans in measured[True].items():
                ratios[per_post].append(with_spans.cpu / measured[False][per_post].cpu)
                print(f"round {number + 1}, {per_post} a post: {ratios[per_post][-1]:.2f}", flush=True)
    print(f"## Spans over OTLP: {SAMPLE_PERCENT} % of the requests, {rounds} interleaved rounds\n")
    rows = [
        (per_post, middle(found), f"{min(found):.2f} to {max(found):.2f}")
        for per_post, found in ratios.items()
    ]
    print(table(("events a post", "CPU with ÷ without, median", "all"), rows))
    print(f"{received['requests']} exports, {received['bytes']:,} bytes\n", flush=True)


def _measure(running: Stage, pipeline: Pipeline, settings: Settings) -> dict[int, Round]:
    """Restart API and worker with these settings, warm them, and measure."""
    running.end("worker")
    running.end_api()
    running.settings = settings
    running.start_api()
    running.start_worker()
    pipeline.warm(10)
    pipeline.run(10_000, 100, 10, connections=4)
    return {
        per_post: pipeline.run(events, per_post, 10, connections=connections)
        for per_post, events, connections in _RUNS
    }


@contextmanager
def _collector() -> Iterator[tuple[str, Counter[str]]]:
    """Take what processes export, and count it."""
    received: Counter[str] = Counter()

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received["requests"] += 1
            received["bytes"] += len(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()
