"""Normalise states and provinces to the two-letter codes of the United States and Canada."""

from collections.abc import Mapping
from typing import Final

from app.domain.identity.letters import AMAZON_ACCENTS, keep, keep_composed, unaccented


def _read(rows: str) -> Mapping[str, str]:
    """Parse rows of `code: name, other name` into a mapping from each name, and each code, to the code."""
    names: dict[str, str] = {}
    for row in rows.strip().splitlines():
        code, _, spellings = row.strip().partition(": ")
        names[code] = code
        for spelling in spellings.split(", "):
            names[unaccented(spelling)] = code
    return names


# Source: USPS Publication 28, appendix B: states, district, territories and freely associated states. The
# military codes AA, AE and AP need no row: two letters are kept as they are.
UNITED_STATES: Final = _read(
    """
    al: Alabama
    ak: Alaska
    az: Arizona
    ar: Arkansas
    ca: California
    co: Colorado
    ct: Connecticut
    de: Delaware
    fl: Florida
    ga: Georgia
    hi: Hawaii, Hawai'i
    id: Idaho
    il: Illinois
    in: Indiana
    ia: Iowa
    ks: Kansas
    ky: Kentucky
    la: Louisiana
    me: Maine
    md: Maryland
    ma: Massachusetts
    mi: Michigan
    mn: Minnesota
    ms: Mississippi
    mo: Missouri
    mt: Montana
    ne: Nebraska
    nv: Nevada
    nh: New Hampshire
    nj: New Jersey
    nm: New Mexico
    ny: New York, New York State
    nc: North Carolina
    nd: North Dakota
    oh: Ohio
    ok: Oklahoma
    or: Oregon
    pa: Pennsylvania
    ri: Rhode Island
    sc: South Carolina
    sd: South Dakota
    tn: Tennessee
    tx: Texas
    ut: Utah
    vt: Vermont
    va: Virginia
    wa: Washington, Washington State
    wv: West Virginia
    wi: Wisconsin
    wy: Wyoming
    dc: District of Columbia, Washington DC, Washington D.C.
    as: American Samoa
    gu: Guam
    mp: Northern Mariana Islands, Commonwealth of the Northern Mariana Islands
    pr: Puerto Rico, Commonwealth of Puerto Rico
    vi: Virgin Islands, US Virgin Islands, U.S. Virgin Islands, United States Virgin Islands
    um: United States Minor Outlying Islands, US Minor Outlying Islands
    fm: Federated States of Micronesia, Micronesia
    mh: Marshall Islands
    pw: Palau
    """
)

# Source: Canada Post's addressing guidelines. The former codes PQ, NF and LB are still in use.
CANADA: Final = _read(
    """
    ab: Alberta
    bc: British Columbia, Colombie-Britannique
    mb: Manitoba
    nb: New Brunswick, Nouveau-Brunswick
    nl: Newfoundland and Labrador, Newfoundland & Labrador, Newfoundland, Terre-Neuve-et-Labrador, NF, LB
    ns: Nova Scotia, Nouvelle-Écosse
    nt: Northwest Territories, Territoires du Nord-Ouest, NWT
    nu: Nunavut
    on: Ontario
    pe: Prince Edward Island, Île-du-Prince-Édouard, PEI
    qc: Quebec, Québec, PQ
    sk: Saskatchewan
    yt: Yukon, Yukon Territory, Territoire du Yukon
    """
)

BY_COUNTRY: Final[Mapping[str, Mapping[str, str]]] = {"US": UNITED_STATES, "CA": CANADA}

# The states of both countries, for the tag template: it ignores the country. No name or code is in both
# lists.
_EITHER: Final = {**CANADA, **UNITED_STATES}

_LETTERS_AND_DIGITS: Final = keep("a-z0-9")
_AS_A_CITY: Final = keep_composed("a-z0-9")


def amazon_state(text: str, country: str) -> str:
    """Return the two-letter code of a state in `country`, such as `ca` for `California` or `US-CA`.

    A name without a code is normalised like a city: lower case, only letters and digits.
    """
    names = BY_COUNTRY.get(country)
    if names is None:
        return _AS_A_CITY(text)
    name = unaccented(text)
    code = names.get(name)
    # ISO 3166-2 writes the country before the state: US-CA.
    if code is None and len(name) == 4 and name.startswith(country.lower()):
        code = names.get(name[2:])
    return code or _AS_A_CITY(text)


def template_state(text: str, country: str) -> str:
    """Return the two-letter code of a US or Canadian state, else the first two letters or digits of the name.

    Amazon's tag template has an error: West Virginia becomes `we`. This function does not reproduce it
    (position P8).
    """
    code = _EITHER.get(unaccented(text))
    return code or _LETTERS_AND_DIGITS(text.lower().translate(AMAZON_ACCENTS))[:2]
