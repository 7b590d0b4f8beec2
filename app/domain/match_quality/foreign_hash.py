"""Find the rule by which another system made a digest of a trait.

Every rule is tried on the value in clear, so a digest is named only if the rule reproduces it exactly.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import phonenumbers

from app.domain.identity import clean
from app.domain.identity.keys import MatchKeyRule, MatchKeyType, Profile

_NOT_DIGIT: Final = re.compile(r"[^0-9]+")

# The rules in the order of interface §16, each with what to change at the source.
REMEDIES: Final[Mapping[str, str]] = {
    "amazon": "It has the match key that Amazon receives.",
    "e164_with_plus": "Remove the + before hashing: Amazon wants digits only, with the country code.",
    "national_number": "Add the country code before hashing, without + and without the leading zero.",
    "untrimmed": "Remove spaces and line breaks around the value before hashing.",
    "upper_case": "Convert the value to lower case before hashing.",
    "dots_removed": "Keep the dots of the address: Amazon does not remove them.",
    "md5": "Use SHA-256. An MD5 digest matches no person at Amazon.",
    "sha1": "Use SHA-256. A SHA-1 digest matches no person at Amazon.",
    "double_hashed": "Hash the value once. This digest is the digest of a digest.",
    "base64": "Write the digest as 64 hexadecimal digits, not in base64.",
    "segment": "Hash by Amazon's rules, or send the value in clear. Segment's rules differ.",
    "amazon_gtm": "Hash by Amazon's rules, or send the value in clear. The tag template's rules differ.",
}
_UNKNOWN: Final = (
    "No known rule gives this digest. Check that value and digest are of the same person, or send the value "
    "in clear and let this service hash it."
)
_UNHASHED: Final = "Amazon takes this key unhashed. Send the value itself."


@dataclass(frozen=True, slots=True)
class HashExplanation:
    """The rules that reproduce a digest, the first one in `rule`, and the match key that Amazon needs."""

    matches_amazon: bool
    rule: str | None
    rules: tuple[str, ...]
    expected: str | None = field(repr=False)
    remedy: str


def explain_hash(rule: MatchKeyRule, value: str, digest: str, *, country: str) -> HashExplanation:
    """Return which rules give this digest for a value. `expected` is None if the value has no match key."""
    given = digest.strip()
    text = clean(Profile.AMAZON, rule, value, country=country)
    expected = (_digest(text) if rule.hashed and not _is_digest(text) else text) if text else None
    found = [name for name, digests in _digests(rule, value, text, country) if _normal(given) in digests]
    if expected is not None and _normal(given) == _normal(expected):
        found.insert(0, "amazon")
    name = found[0] if found else None
    is_digest_wanted = rule.hashed or name == "amazon"
    remedy = (REMEDIES[name] if name else _UNKNOWN) if is_digest_wanted else _UNHASHED
    return HashExplanation(name == "amazon", name, tuple(found), expected, remedy)


def _digests(rule: MatchKeyRule, value: str, text: str, country: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each rule, in order, with the digests that it can give where Amazon's rule gives another one."""
    plain = {text} - {""}  # what Amazon's rule hashes
    typed = {value.strip(), value.strip().lower(), value} - {""}
    variants = {
        "e164_with_plus": {f"+{text}"} if rule.type is MatchKeyType.PHONE and text else set(),
        "national_number": _national(rule, value, text),
        "untrimmed": _untrimmed(value, text),
        "upper_case": _upper(value, text),
        "dots_removed": _without_dots(rule, text, value),
    }
    if rule.hashed:
        for name, texts in variants.items():
            yield name, {_digest(each) for each in texts - plain}
    every = plain | typed
    for algorithm in ("md5", "sha1"):
        yield algorithm, {_digest(each, algorithm) for each in every}
    yield "double_hashed", {twice for each in every for twice in _twice(each)} if rule.hashed else set()
    yield "base64", {form for each in every for form in _base64(each)} if rule.hashed else set()
    for profile in (Profile.SEGMENT, Profile.AMAZON_GTM):
        other = clean(profile, rule, value, country=country)
        if other and rule.hashed:
            yield profile.value, {_digest(other)}


def _national(rule: MatchKeyRule, value: str, text: str) -> set[str]:
    """Return the digits of a phone number as dialled in its country, with and without the leading zero."""
    if rule.type is not MatchKeyType.PHONE or not text or _is_digest(text):
        return set()
    try:
        number = phonenumbers.parse(f"+{text}", None)
    except phonenumbers.NumberParseException:
        return set()
    national = phonenumbers.national_significant_number(number)
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    typed = _NOT_DIGIT.sub("", value)
    dialled = {national, f"0{national}", _NOT_DIGIT.sub("", written)}
    return dialled | ({typed} if typed.endswith(national) and not typed.startswith("00") else set())


def _untrimmed(value: str, text: str) -> set[str]:
    found = {value, value.lower()} if value != value.strip() else set()
    bases = {text, value.strip(), value.strip().lower()} - {""}
    for base in bases:
        found |= {f"{base}\n", f"{base}\r\n", f"{base} ", f" {base}", f" {base} ", f"{base}\t"}
    return found


def _upper(value: str, text: str) -> set[str]:
    typed = value.strip()
    found = {typed.upper(), text.upper(), typed.title(), text.title(), typed.capitalize(), text.capitalize()}
    return {each for each in found | {typed} if each != each.lower()}


def _without_dots(rule: MatchKeyRule, text: str, value: str) -> set[str]:
    """Return an address without the dots before `@`, also without what follows `+`, as for Gmail."""
    if rule.type is not MatchKeyType.EMAIL:
        return set()
    found = set()
    for address in (text, value.strip().lower()):
        local, at, domain = address.rpartition("@")
        if at and "." in local:
            found |= {f"{each.replace('.', '')}@{domain}" for each in (local, local.partition("+")[0])}
    return found


def _twice(text: str) -> Iterable[str]:
    once = text if _is_digest(text) else _digest(text)
    return {_digest(once), _digest(once.upper()), hashlib.sha256(binascii.unhexlify(once)).hexdigest()}


def _base64(text: str) -> Iterable[str]:
    once = text.lower() if _is_digest(text) else _digest(text)
    for raw in (binascii.unhexlify(once), once.encode()):
        for form in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
            yield form.decode()
            yield form.decode().rstrip("=")


def _normal(digest: str) -> str:
    """Return a digest in lower case if it is hexadecimal: only the case of base64 has a meaning."""
    return digest.lower() if re.fullmatch(r"[0-9A-Fa-f]+", digest) else digest


def _is_digest(text: str) -> bool:
    return re.fullmatch(r"[0-9A-Fa-f]{64}", text) is not None


def _digest(text: str, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
