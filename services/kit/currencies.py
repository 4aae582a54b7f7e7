"""ISO 4217: which currencies there are and how many decimal places their smallest unit has. Rates don't belong here."""

from __future__ import annotations

from types import MappingProxyType

# ISO 4217 list one, active codes of money that is spent in shops (2024-06; no funds codes, metals or test codes).
_TWO = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE
CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW
KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK
PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS
UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
"""
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"

#: Code -> decimal places of its smallest unit: 2 for EUR (cents), 0 for JPY, 3 for KWD (fils).
EXPONENTS = MappingProxyType(
    {code: places for places, codes in ((0, _NONE), (2, _TWO), (3, _THREE)) for code in codes.split()}
)


def is_known(code: str) -> bool:
    """Whether code is a currency of ISO 4217, in upper case."""
    return code in EXPONENTS
