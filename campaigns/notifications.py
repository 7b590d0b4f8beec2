"""What is notified in minutes of healthy load, and while a fault flickers; in real time.

    ./run campaign notifications healthy --minutes 15  # expected: no message
    ./run campaign notifications flicker --minutes 10  # expected: at most two

Ten events a second on an instance of its own. In `flicker`, Amazon answers 503 for 15 of every 40 seconds.
If no message came, Amazon answers 503 until one comes, which shows that the channel works.
"""

import argparse
import json
import secrets
import tempfile
import time
from base64 import b64encode
from pathlib import Path
from typing import ClassVar

from pydantic import SecretStr

from dev.drills.load import Load
from dev.drills.stage import Stage
from tests.listening import SilentHandler, handling
from tests.waiting import wait_until

FAULTY_S, PERIOD_S = 15.0, 40.0
MOST = {"healthy": 0, "flicker": 2}


class Receiver(SilentHandler):
    """Takes webhooks, and notes type and kind of each message."""

    messages: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.messages.append(f"{body['type']} {body['data'].get('kind')}")
        self.send_response(204)
        self.end_headers()


def run(mode: str, minutes: float, folder: Path, url: str) -> int:
    """Print the messages and the counts; return 1 if there were too many messages."""
    secret = f"whsec_{b64encode(secrets.token_bytes(24)).decode()}"
    stage, changes, faulty = Stage(folder), 0, False
    messages = Receiver.messages
    try:
        stage.open(notify_webhooks=SecretStr(f"ops={url}/hook"), notify_secrets=SecretStr(f"ops={secret}"))
        load = Load(stage, callers=1, pause_s=2.0)
        load.start()
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < minutes * 60:
            wanted = mode == "flicker" and elapsed % PERIOD_S < FAULTY_S
            if wanted is not faulty:
                faulty, changes = wanted, changes + 1
                stage.set_fault({"kind": "5xx"} if faulty else None)
            time.sleep(0.2)
        count = len(messages)
        if count == 0:
            stage.set_fault({"kind": "5xx"})
            wait_until(lambda: messages)
        load.stop()
        stage.set_fault(None)
        counts = stage.drain()
    finally:
        stage.close()
    print(f"{mode}: {minutes:g} minutes, {changes} changes, {count} messages: {messages[:count]}; {counts}")
    return int(count > MOST[mode] or counts["dead"] > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=sorted(MOST))
    parser.add_argument("--minutes", type=float, required=True)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="conversions-campaign-") as name, handling(Receiver) as server:
        Path(name).chmod(0o755)
        return run(chosen.mode, chosen.minutes, Path(name), f"http://127.0.0.1:{server.server_port}")
