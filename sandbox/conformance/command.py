"""`conformance URL`: run Amazon's published cases against a stand-in.

Exit 1 on failures, or if the stand-in does not respond.

Never run it against Amazon: the cases send events that Amazon would count.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from sandbox.conformance import requests, signing
from sandbox.conformance.caller import Caller, Differs
from sandbox.conformance.requests import Case

_CLIENT: Final = "sandbox-client"


@dataclass(frozen=True, slots=True)
class Line:
    """The result of one case."""

    case: Case
    word: str
    why: str = ""

    def text(self) -> str:
        """Return the result as a line of text."""
        why = f": {self.why}" if self.why else ""
        return f"  {self.word:<8} {self.case.id:<24} {self.case.says}{why}  [{self.case.source}]"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("url", metavar="URL", help="a stand-in's address, as in AMAZON_BASE_URL")
    parser.add_argument("--region", action="append", choices=("na", "eu", "fe"), help="default: na and eu")
    parser.add_argument("--advertiser", default="", help="default: the first that the sign-in shows")
    parser.add_argument("--client-id", default=_CLIENT)
    parser.add_argument("--client-secret-file", type=Path, help="default: the sandbox's")
    parser.add_argument("--strict", action="store_true", help="also fail cases whose sources are uncertain")


def run(_settings: object, asked: argparse.Namespace) -> int:
    """Run every case in every requested region."""
    try:
        host = (urlsplit(asked.url).hostname or "").lower()
    except ValueError:
        host = ""
    if not host:
        print("The address is not valid. Use one such as http://127.0.0.1:8001.", file=sys.stderr)
        return 2
    if any(part.startswith("amazon") for part in host.split(".")) or "media-amazon" in host:
        print(
            "This is Amazon. The cases would send events to a real account. Use the address of a stand-in.",
            file=sys.stderr,
        )
        return 2
    secret = asked.client_secret_file
    failed = False
    with httpx.Client(timeout=30, trust_env=False, follow_redirects=False) as http:
        try:
            http.get(asked.url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            print(f"{asked.url} does not respond ({type(error).__name__}).", file=sys.stderr)
            return 1
        for region in asked.region or ("na", "eu"):
            caller = Caller(
                http=http,
                base=asked.url.rstrip("/"),
                region=region,
                client_id=asked.client_id,
                client_secret=_CLIENT if secret is None else secret.read_text().strip(),
                advertiser_id=asked.advertiser,
            )
            print(f"{caller.base}/{region}")
            counted: Counter[str] = Counter()
            for line in lines(caller, strict=asked.strict):
                print(line.text(), flush=True)
                counted[line.word] += 1
            print("  " + ", ".join(f"{number} {word}" for word, number in counted.items()) + "\n")
            failed = failed or counted["FAIL"] > 0
    return 1 if failed else 0


def lines(caller: Caller, *, strict: bool = False) -> Iterator[Line]:
    """Sign in and yield a line per case. If the sign-in fails, report all other cases as not run."""
    sign_in = Case("sign-in", "DOCS 5", "a user can sign in and see an advertiser", _sign_in)
    first = _line(sign_in, caller, strict=True)
    yield first
    for case in (*signing.CASES, *requests.cases(caller.region)):
        if first.word == "FAIL" and not caller.token:
            yield Line(case, "not run")
        else:
            yield _line(case, caller, strict=strict)


def _sign_in(caller: Caller) -> None:
    caller.sign_in()
    caller.find_advertiser()


def _line(case: Case, caller: Caller, *, strict: bool) -> Line:
    try:
        case.check(caller)
    except Differs as difference:
        return Line(case, "FAIL" if case.sure or strict else "differs", str(difference))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        # A response with an unexpected format is an error of the stand-in, not of the case.
        return Line(
            case, "FAIL" if case.sure or strict else "differs", f"unreadable ({type(error).__name__})"
        )
    return Line(case, "pass")
