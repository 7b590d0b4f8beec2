"""Write the welcome screen of `./run`, with addresses and a command that sends a first event."""

import json
import shlex
from datetime import UTC, datetime

from app.settings import Settings
from dev.example import Example


def welcome(settings: Settings, example: Example | None, *, show_key: bool, own_sandbox: bool) -> str:
    """Return the text of the screen. Without `show_key`, it has `$BOOTSTRAP_ADMIN_KEY` instead of the key."""
    here = settings.public_url
    assert settings.bootstrap_admin_key is not None
    key = settings.bootstrap_admin_key.get_secret_value() if show_key else "$BOOTSTRAP_ADMIN_KEY"
    rows = [
        ("API reference", f"{here}/docs"),
        ("Console", f"{here}/console"),
        ("Health", f"{here}/health/ready"),
    ]
    if own_sandbox:
        rows.append(("Amazon sandbox", f"http://localhost:{settings.sandbox_port}/"))
    rows.append(("Admin key", key if show_key else "the BOOTSTRAP_ADMIN_KEY you set"))
    lines = ["", "  Ready.", "", *(f"  {name:<18} {value}" for name, value in rows), ""]
    if example is not None:
        lines += [
            f"  Example destination  {example.destination_id}, connected to the sandbox.",
            "  Send it a first event:",
            "",
            first_event(here, key, example, datetime.now(UTC)),
            "",
            "  See it in the sandbox's Events manager: "
            f"http://localhost:{settings.sandbox_port}/events-manager",
            "",
        ]
    return "\n".join(lines)


def first_event(address: str, key: str, example: Example, now: datetime) -> str:
    """Return the curl command. Double quotes let the shell expand the key if it is a variable."""
    event = {
        "destination_id": example.destination_id,
        "event": {
            "name": "addToCart",
            "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "properties": {"brand": "acme"},
        },
        "user": {"email": "ada@example.com", "first_name": "Ada", "last_name": "Lovelace", "country": "US"},
    }
    return (
        f'curl -sS {address}/events -H "Authorization: Bearer {key}" '
        f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(event, separators=(',', ':')))}"
    )
