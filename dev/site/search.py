"""What the site's search knows: sections, rows of tables, and words that mean the same."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from markdown.extensions.toc import slugify  # type: ignore[import-untyped]

Entry = dict[str, Any]
"""A place of the site: `location`, `title`, `text`, `boost` (a factor of its score), questions (`asked`)."""

# Readers look for guides and reference first; records of decisions and measurements are seldom the answer.
_BOOSTS: Final = {
    "adr/": 0.3, "evidence/": 0.2, "reference/": 0.6, "reference/schemas": 0.2, "index.html": 0.3,
    "project/third_party_notices": 0.1, "project/changelog": 0.3, "rules.html": 0.4,
    "project/contributing": 0.5, "releasing": 0.5, "campaigns": 0.5, "amazon-cases": 0.5, "architecture": 0.8,
}  # fmt: skip

SYNONYMS: Final = tuple(
    group.split()
    for group in """
    401 403 unauthorized forbidden key scope
    429 throttled ratelimit throttling limit
    500 502 503 5xx unavailable
    accepted 202 stored
    answer answers response responses reply replies
    alarm alert pager paged page
    amount price value total revenue money
    approve approved publish published
    array list items loop
    attribute property field column parameter
    block firewall proxy outbound
    boot start starting startup
    denial dos ddos flood attack attacks
    breach leak leaked
    browser console interface dashboard ui web gui
    cancel refund cancellation refunded
    cart basket items product products
    client sdk library postman swagger openapi
    config configuration setting settings environment variable env
    consent opt-in opt-out optout gdpr tcf
    copy export download csv
    crash crashes crashed exit exits killed died die
    cve vulnerability vulnerabilities
    customer person people user subject
    deduplicate deduplication duplicate duplicates repeated twice
    delay late latency slow
    fast quick quickly soon speed second
    import backfill historical csv
    autoscale autoscaling scale hpa
    mute silence snooze muted
    delete deleted remove erase erasure forget purge
    developer contributor contributing develop
    disk storage space
    docker container containers compose
    down outage unavailable unreachable
    drain stop stopping shutdown sigterm maintenance
    employee staff operator colleague
    fail failed fails failing failure error errors
    grow grows growing increase
    hash hashed hashing sha256 sha-256 digest
    helm kubernetes k8s
    history audit log who changed
    impact performance throughput speed
    install installation installing setup
    laptop local locally machine
    lock locks blocked
    lost lose loss missing disappear disappeared
    machine server host hardware
    map mapping mapped
    max maximum most limit limits quota
    memory ram oom
    metric metrics monitoring prometheus
    missing absent empty null
    move migrate migration upgrade update
    notify notified notification callback webhook
    offline store shop
    order sequence ordering
    ordering fifo
    password login log-in signin sign-in
    pending waiting wait stuck queue queued backlog piling
    permission permissions privilege privileges role roles access
    phone telephone msisdn mobile
    postgres postgresql database db
    preview test testing try dry
    price cost cpu
    quickstart tutorial start begin first
    recover restore recovery
    region europe eu na fe
    rename renamed
    replica standby failover
    requirement requirements prerequisites
    resend reprocess replay retry repeat again
    restart restarted
    revert rollback undo previous
    rotate rotation replace change
    sample example
    simulate inject fault faults sandbox
    skew drift clock clocks
    license licence licenses licences
    month months week weeks old older age
    debug inspect preview
    static constant fixed hardcoded const
    secret secrets token tokens credentials
    send sends sending sent post posts posted
    sla objective objectives slo
    sso oidc openid saml okta
    subprocessor subprocessors recipients recipient third-party
    support help
    tenant tenants organisation organisations multi-tenant customer customers company
    time timestamp date timezone zone
    tls ssl https certificate encryption
    traffic load
    wrong invalid incorrect rejected refused
    admin administrator administrators
    alter altered change changed modify modified edit edited manipulate tamper tampered
    approval approve review
    bill billing charge invoice usage cost
    broken damaged corrupt corrupted defect
    build built compile
    canceled cancelled cancel abort
    cart checkout basket
    check verify verified validate validation prove proof
    clear plain plaintext readable raw
    client customer tenant organisation account
    combine join merge concatenate
    component components part parts piece pieces module modules package packages
    conform compliance comply compliant gdpr
    convert transform translate conversion
    country nation state
    credential credentials secret secrets token tokens password passwords
    degraded unhealthy failing attention
    developer developers engineer engineers
    diagram picture pictures drawing figure image images screenshot screenshots
    document documentation manual guide page
    down dead died crashed gone
    drop dropped omit omitted ignore ignored skip
    dump copy snapshot backup backups
    duplicate identical same twice
    email e-mail mail address
    endpoint url address route path
    enough sufficient suffice
    error errors failure failures problem problems fault
    export archive download extract
    field fields attribute attributes property properties member members key
    final finally ultimately end
    fit fits together architecture
    forbid forbidden allow allowed permit permitted refuse refused
    hang hangs hanging hung frozen freeze stuck
    hide mask redact masked redacted
    holiday maintenance
    id identifier identifiers ids identity
    increase raise higher more
    inform informed notify told message messages
    inspect see view look viewed looked watch monitor
    inventory list listing catalogue catalog overview
    kept keep keeps store stored storage retention retained hold held
    kill killed terminate sigkill
    license licence licences terms
    lower reduce decrease
    mandatory required must obligatory compulsory needed
    meaning definition explain explained refer refers
    midnight night
    missing absent lack lacks
    modify update patch
    module library package dependency dependencies
    money amount value price revenue
    move transfer transferred leave leaves
    name called named
    new create add created
    number count counts figure figures numbers
    old previous earlier former
    optional voluntary
    payload body content data
    person human individual subject somebody people
    prevent stop stops avoid
    private personal sensitive pii
    protect protected protection secure secured security safe safety
    purchase purchases order orders transaction transactions sale sales buy bought
    quick fast speed throughput rate
    read access view
    receive received arrive arrived get
    record recorded log logged logs audit audited
    remove delete wipe clear purge
    report reports reporting
    requirement prerequisite need
    role roles permission rights
    run running operate
    scratch reset over
    sign-up signup registration register
    space whitespace blank
    stable unchanged constant
    stored disk saved persisted
    subcontractor subcontractors subprocessor recipients recipient third-party processor
    system installation deployment instance
    temporary temporarily
    unit units quantity pieces
    unreadable invalid
    user users person people account
    version release
    waiting pending queued
    website site web
    window maintenance
    yen jpy currency
    cutover go-live live production
    in-store store shop offline retail
    """.strip().splitlines()
)
"""Words of readers and of the documents: a search for one of a group finds the others, with less weight."""

ROW_MARKS: Final = "\ue000\ue001\ue002\ue003"
"""In a text: the start of a row, the end of its first cell, the end of a row, the start of a header."""
_SHORT: Final = 3_000  # characters
_ROW: Final = 0.5  # the boost of a row: its few words must not hide the section that explains them

_TABLES_OF_WORDS: Final = {"glossary.html", "retention.html", "threat-model.html"}

_ALERTS = re.compile(r"(?:Alert|Incident)s?: ([\w, ]+)")
_HEADING = re.compile(r"(?m)^#{1,3} (.+)$")
_ROW_OF_CODE = re.compile(r"\| (`[^|]+`[^|]*) \| (.+) \|")
_ROW_OF_WORDS = re.compile(r"\| ([^|`-][^|]*) \| (.+) \|")
_FENCE = re.compile(r"(?ms)^ *```.*?^ *```$")


def improved(entries: list[Entry], pages: Mapping[str, str]) -> list[Entry]:
    """Return the entries of MkDocs' index with titles that name the page, each text once, and rows of tables.

    `pages` has the Markdown of each page by its path. A short page is one entry, a long one an entry for each
    section.
    """
    whole = {entry["location"]: entry for entry in entries if "#" not in entry["location"]}
    short = {location for location, entry in whole.items() if len(entry["text"]) < _SHORT}
    sections = [
        {**entry, "title": _title(entry["title"], whole[page]["title"])}
        for entry in entries
        if "#" in entry["location"] and (page := entry["location"].partition("#")[0]) not in short
    ]
    found = [
        *(_with_alerts(whole[location]) for location in sorted(short)),
        *sections,
        *(row for path, text in pages.items() for row in rows(path, text)),
    ]
    complete = [
        {"boost": _boost(entry["location"]), **entry, "text": entry["text"].replace(" ¶", ":")}
        for entry in found
    ]
    _add_questions(complete, {entry["location"] for entry in entries})
    return complete


def _add_questions(places: list[Entry], known: set[str]) -> None:
    """Add the questions of asked.txt to their places, or to the page of a place that has no entry."""
    first: dict[str, Entry] = {}
    for place in places:
        first.setdefault(place["location"], place)
        first.setdefault(place["location"].partition("#")[0], place)
    for line in Path(__file__).with_name("asked.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            location, _, questions = line.partition(": ")
            if location not in known:
                raise ValueError(f"asked.txt: the site has no place {location}")
            place = first.get(location) or first[location.partition("#")[0]]
            place.setdefault("asked", []).extend(questions.split("; "))


def rows(path: str, text: str) -> Iterator[Entry]:
    """Yield an entry for each row of a table that begins with code, such as a setting or a reason.

    Of some pages, rows that begin with words are entries instead.
    """
    page = re.sub(r"(^|/)README\.md$", r"\1index.md", path).removesuffix(".md") + ".html"
    if _boost(page) < 1:
        return
    row = _ROW_OF_WORDS if page in _TABLES_OF_WORDS else _ROW_OF_CODE
    boost = 1 if page == "glossary.html" else _ROW
    anchor = ""
    for line in _FENCE.sub("", text).splitlines():
        if heading := _HEADING.match(line):
            anchor = slugify(re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", heading[1]), "-")
        elif found := row.fullmatch(line):
            plain = re.sub(r"\]\([^)]*\)|[`\[]", "", found[1]), re.sub(r"\]\([^)]*\)|[`\[]", "", found[2])
            yield {"location": f"{page}#{anchor}", "title": plain[0], "text": " ".join(plain), "boost": boost}


def _title(section: str, page: str) -> str:
    return section if section == page else f"{section} · {page}"


def _with_alerts(entry: Entry) -> Entry:
    """Return the entry of a page; that of a runbook has the names and words of its alerts and incidents."""
    if not entry["location"].startswith("runbooks/"):
        return entry
    names = [name for found in _ALERTS.findall(entry["text"]) for name in re.findall(r"\w+", found)]
    words = [re.sub("(?<!^)(?=[A-Z])|_", " ", name).lower() for name in names]
    return {**entry, "asked": [*names, *words]}


def _boost(location: str) -> float:
    matching = [prefix for prefix in _BOOSTS if location.startswith(prefix)]
    return _BOOSTS[max(matching, key=len)] if matching else 1.0
