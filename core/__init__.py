"""The message domain: readings, the prompt contract, the checks, the sign, the errors. Standard library only."""

__version__ = "0.1.0"
