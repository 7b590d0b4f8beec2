"""The countries of events, and the accepted spellings."""

import re
from typing import Final

# Source: Amazon's published schema, `CountryCode`: 249 codes of ISO 3166-1 (GB, not UK) and three more.
COUNTRIES: Final[frozenset[str]] = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
    EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
    LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW ZZ
    OTHER OTHER_EEA ZZ
    """.split()  # noqa: SIM905  (a block of codes is read more easily than 250 quoted ones)
)

EUROPEAN_UNION: Final[frozenset[str]] = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()  # noqa: SIM905
)

# Regions of EU members that have their own country code: Réunion, French Guiana, Guadeloupe, Martinique,
# Mayotte, Saint-Martin, Åland. EU law on personal data applies there (TFEU articles 349 and 355).
OUTERMOST_REGIONS: Final[frozenset[str]] = frozenset({"RE", "GF", "GP", "MQ", "YT", "MF", "AX"})

# Countries that require consent: the EEA, the outermost regions of the EU, the United Kingdom, Switzerland,
# and Amazon's code `OTHER_EEA`. Source: position P7 and product.md.
CONSENT_COUNTRIES: Final[frozenset[str]] = (
    EUROPEAN_UNION | OUTERMOST_REGIONS | {"IS", "LI", "NO", "GB", "CH", "OTHER_EEA"}
)

UK_READ_AS_GB: Final = "country_uk_read_as_gb"

# A language tag such as `en-GB` or `zh-Hant-TW`: language, optional script, and country.
_LANGUAGE_TAG: Final = re.compile(r"[A-Za-z]{2,3}-(?:[A-Za-z]{4}-)?([A-Za-z]{2})")


class ReadAsGB(str):
    """The code `GB` of a country that is written as `UK`, which needs a warning."""

    __slots__ = ()


def read_country(text: str) -> str | None:
    """Return the code in `COUNTRIES` of a country code or a language tag, in any case, with spaces around it.

    `UK` is read as `GB`, because the consent check depends on the country. Codes of three letters and codes
    that Amazon does not list are refused, as other texts: the result is None. Source: position P15.
    """
    word = text.strip(" ")
    if not word.isascii():
        return None
    tag = _LANGUAGE_TAG.fullmatch(word)
    code = (tag.group(1) if tag else word).upper()
    if code == "UK":
        return ReadAsGB("GB")
    return code if code in COUNTRIES else None
