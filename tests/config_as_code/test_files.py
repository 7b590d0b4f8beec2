"""A configuration file is unambiguous, and every problem has a path."""

from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest
import yaml

from app.config_as_code.file import FileProblem, InvalidFile, read, schema, with_lines
from tests.api.world import MAPPING
from tests.config_as_code.files import acme, file
from tests.tables import cases

DOCS = Path(__file__).resolve().parents[2] / "docs"
HEAD = (
    "version: 1\ndestinations:\n- {name: A, advertiser_id: '1', region: NA, currency: USD, mappings: [%s]}\n"
)


def const(written: str) -> object:
    """Read one constant of a mapping."""
    found = read(HEAD % f"{{name: m, country_code: {{const: {written}}}}}")
    assert not isinstance(found, InvalidFile), found
    return found[0].mappings[0].document["country_code"]["const"]


@cases(
    ("written", "meant"),
    {
        "Norway is a country": ("NO", "NO"),
        "so is on": ("on", "on"),
        "no minutes": ("1:30", "1:30"),
        "no date": ("2026-01-02", "2026-01-02"),
        "no hexadecimal": ("0x10", "0x10"),
        "a leading zero is kept": ("010", "010"),
        "no separators": ("1_000", "1_000"),
        "no exponent": ("1e3", "1e3"),
        "true": ("true", True),
        "a whole number": ("12", 12),
        "a number to its last zero": ("1.50", Decimal("1.50")),
        "nothing": ("~", None),
    },
)
def test_a_scalar_means_what_it_looks_like(written: str, meant: object) -> None:
    """Where YAML 1.1 would bend it."""
    assert const(written) == meant
    assert type(const(written)) is type(meant)


@cases(
    ("text", "at", "word"),
    {
        "a key twice": ("version: 1\nversion: 1\ndestinations: []", "line 2", "twice"),
        "an alias": ("a: &x 1\nb: *x", "line 2", "aliases"),
        "a bracket left open": ("a: [1", "line 1", "YAML"),
        "a key that is no text": ("1: 2", "line 1", "text"),
        "no version": ("destinations: []", "version", "required"),
        "another version": ("version: 2\ndestinations: []", "version", "1"),
        "a tag that would act": ("!!python/object:os.system x", "line 1", "YAML"),
        "an entity id": (file(acme(advertiser_id="ENTITY123")), "destinations[0].advertiser_id", "ntity"),
        "a member it does not know": (file(acme(tokens="x")), "destinations[0].tokens", "No member"),
        "an advertiser id without quotes": (
            HEAD.replace("'1'", "1") % "{name: m}",
            "destinations[0].advertiser_id",
            "quotes",
        ),
        "a bad id": (HEAD % "{id: x, name: m}", "destinations[0].mappings[0].id", "pattern"),
        "a nameless mapping": (HEAD % "{fields: {}}", "destinations[0].mappings[0].name", "name"),
        "a personal name": (
            HEAD % "{name: a@b.example}",
            "destinations[0].mappings[0].name",
            "email address",
        ),
        "an unknown kind": (
            file(acme(notifications={"kinds": ["x"]})),
            "destinations[0].notifications.kinds",
            "Use `all`, or a list of these: sign_in_lost, amazon_forbidden,",
        ),
        "an unknown severity": (
            file(acme(notifications={"min_severity": "loud"})),
            "destinations[0].notifications.min_severity",
            "'info', 'warning' or 'critical'",
        ),
        "an empty file": ("", "file", "version: 1"),
        "no list": ("version: 1\ndestinations: {}", "destinations", "a list"),
        "no object": ("version: 1\ndestinations: [x]", "destinations[0]", "an object"),
        "a mapping that is none": (HEAD % "x", "destinations[0].mappings[0]", "an object"),
        "a tab": ("version: 1\ndestinations:\n\t- a", "line 3", "YAML"),
    },
)
def test_a_problem_is_reported_with_its_place(text: str, at: str, word: str) -> None:
    """By line where it is no YAML, by path where it is."""
    found = read(text)
    assert isinstance(found, InvalidFile)
    assert found.problems[0].path == at
    assert word in found.problems[0].sentence


def test_problems_of_mappings_are_reported_beside_those_of_their_destination() -> None:
    """Nobody repairs a currency first, to learn then that a field of the mapping is wrong too."""
    wrong = {**MAPPING, "name": "Other", "fields": {"email": {"template": "x"}}}
    unready = {"name": "No consent", "fields": {"email": "user.email"}}
    draft = {**unready, "name": "Draft", "published": False}
    bad_id = {**MAPPING, "name": "Bad id", "id": "x"}
    found = read(file(acme(MAPPING, wrong, unready, draft, bad_id, currency="XXXX")))
    assert isinstance(found, InvalidFile)
    assert {problem.path: problem.sentence.partition(":")[0] for problem in found.problems} == {
        "destinations[0].currency": "Use one of the currency codes listed in GET /catalog.",
        "destinations[0].mappings[1]": "invalid",
        "destinations[0].mappings[2]": "not_publishable",
        "destinations[0].mappings[4].id": "String should match pattern '^map_[0-9a-z]{16,32}$'.",
    }


@pytest.mark.parametrize(
    ("at", "placed"),
    [
        ("destinations[0].advertiser_id", "line 4, destinations[0].advertiser_id"),
        ("destinations[0].region", "line 3, destinations[0].region"),
        ("destinations[0].mappings[1].fields.email", "line 8, destinations[0].mappings[1].fields.email"),
        ("destinations[1]", "line 2, destinations[1]"),
        ("file", "file"),
    ],
    ids=["what is there", "what is missing", "deep within", "an item too many", "the whole file"],
)
def test_a_path_is_reported_with_its_line(at: str, placed: str) -> None:
    """Where it stands, or where it would belong."""
    text = (
        "version: 1\ndestinations:\n- name: A\n  advertiser_id: '1'\n  mappings:\n"
        "  - name: m\n  - name: n\n    fields: {email: 1}\n"
    )
    [found] = with_lines(InvalidFile((FileProblem(at, "."),)), text).problems
    assert found.path == placed


def test_the_schema_takes_the_documented_example_and_refuses_slips() -> None:
    """Editors find what the command would refuse."""
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(yaml.safe_load(file(acme({**MAPPING, "published": False}))), schema())
    for broken in (
        acme(region="US"),
        acme(rate_limit={"requests_per_second": 0.01}),
        acme({**MAPPING, "event_type": "ADD_TO_CART"}),
        acme({**MAPPING, "fields": {"e-mail": "user.email"}}),
        acme({**MAPPING, "publish": True}),
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(file(broken)), schema())


def test_the_example_of_the_document_can_be_applied() -> None:
    """docs/configuration-as-code.md shows a file that is read without a problem, and fits the schema."""
    text = (DOCS / "configuration-as-code.md").read_text().split("```yaml\n")[1].split("```")[0]
    assert not isinstance(read(text), InvalidFile)
    jsonschema.validate(yaml.safe_load(text), schema())
