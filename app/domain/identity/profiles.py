"""The three identity profiles, each a table: a row per match-key type, with its name and where its rule comes from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from app.domain.identity.keys import Dropped, MatchKeyType, Profile, Why
from app.domain.identity.letters import keep, keep_composed

Clean = Callable[[str, str], str | Dropped]


@dataclass(frozen=True, slots=True)
class Row:
    """One rule: its name, its source, and what it makes of (trait, country)."""

    name: str
    source: str
    clean: Clean


def _letters(rule: Callable[[str], str]) -> Clean:
    def cleaned(text: str, country: str) -> str | Dropped:
        return rule(text) or Dropped(Why.EMPTY)

    return cleaned


def _table(profile: Profile, rows: Mapping[MatchKeyType, tuple[str, Clean]]) -> Mapping[MatchKeyType, Row]:
    return {kind: Row(f"{profile}.{kind.lower()}", source, rule) for kind, (source, rule) in rows.items()}


def _raw(text: str, country: str) -> str | Dropped:
    return text if text.strip() else Dropped(Why.EMPTY)


_T = MatchKeyType
_ALNUM = _letters(keep_composed("a-z0-9"))
_PROVISIONAL = {
    _T.EMAIL: ("P8", _letters(keep_composed("a-z0-9.@-"))),
    _T.PHONE: ("P8", _letters(keep("0-9"))),
    **{k: ("P8", _ALNUM) for k in (_T.FIRST_NAME, _T.LAST_NAME, _T.ADDRESS, _T.CITY, _T.STATE, _T.POSTAL)},
    **{
        k: ("P8", _raw)
        for k in (_T.MAID, _T.RAMP_ID, _T.MATCH_ID, _T.REAL_ID, _T.MERKLE_ID, _T.KANTAR_ID, _T.FIP)
    },
}

PROFILES: Final[Mapping[Profile, Mapping[MatchKeyType, Row]]] = {p: _table(p, _PROVISIONAL) for p in Profile}
