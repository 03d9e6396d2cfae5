"""Units of temperature: what payloads and settings call them, and the way to °C. An unknown name is never guessed."""

from decimal import Decimal
from enum import StrEnum


class Unit(StrEnum):
    """A unit that temperatures arrive in."""

    CELSIUS = "°C"
    FAHRENHEIT = "°F"
    KELVIN = "K"


# Spellings that mean one thing only. A bare degree sign ("°", "deg", "도") does not, and so is on no list.
# "º" is the ordinal sign, which keyboards offer where the degree sign is meant.
_SYMBOLS = {
    **dict.fromkeys(("°C", "℃", "ºC", "C", "Cel"), Unit.CELSIUS),
    **dict.fromkeys(("°F", "℉", "ºF", "F"), Unit.FAHRENHEIT),
    **dict.fromkeys(("K", "\N{KELVIN SIGN}", "°K"), Unit.KELVIN),
}
_WORDS = {
    **dict.fromkeys(("celsius", "degc", "degrees celsius"), Unit.CELSIUS),
    **dict.fromkeys(("fahrenheit", "degf", "degrees fahrenheit"), Unit.FAHRENHEIT),
    **dict.fromkeys(("kelvin", "degk"), Unit.KELVIN),
}


def known_unit(name: str) -> Unit | None:
    """Return the unit that a name means; None: no unit of temperature, or an ambiguous name.

    >>> known_unit("degF")
    <Unit.FAHRENHEIT: '°F'>
    """
    text = name.strip()
    return _SYMBOLS.get(text) or _WORDS.get(text.lower())


def celsius(value: float, unit: Unit) -> float:
    """Convert a finite temperature to °C, in decimals: 294.55 K is 21.4 °C and not 21.400000000000034."""
    exact = Decimal(repr(value))
    if unit is Unit.FAHRENHEIT:
        return float((exact - 32) * 5 / 9)
    return float(exact - Decimal("273.15")) if unit is Unit.KELVIN else value
