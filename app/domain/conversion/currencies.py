"""The currencies that Amazon accepts for a purchase, and which of them have no decimals."""

from typing import Final

# Source: Amazon's published schema, `CurrencyCode`, 81 codes. Older connectors know only 18 of them.
CURRENCIES: Final[frozenset[str]] = frozenset(
    """
    AED ARS AUD AZN BBD BGN BHD BMD BND BOB BRL BSD CAD CHF CLP CNY COP CRC CZK DKK DOP DZD EGP EUR
    GBP GHS GTQ HKD HNL HRK HUF IDR ILS INR JMD JOD JPY KES KRW KWD KYD KZT LBP LKR MAD MUR MXN MXP
    MYR NAD NGN NOK NZD PAB PEN PHP PKR PLN PYG QAR RON RSD RUB SAR SEK SGD THB TND TRY TTD TWD TZS
    UAH USD UYU VND XAF XCD XOF XPF ZAR
    """.split()  # noqa: SIM905  (a block of codes is read more easily than 81 quoted ones)
)

# ISO 4217 defines no minor unit for these currencies. An amount with decimals is probably in another
# currency, so it is a likely mistake.
WITHOUT_DECIMALS: Final[frozenset[str]] = frozenset({"CLP", "JPY", "KRW", "PYG", "VND", "XAF", "XOF", "XPF"})
