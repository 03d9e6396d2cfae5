"""The room's errors.

SignboardError
└── SignError                  a sign cannot show a text, or is not usable
    ├── NotDrawable            a text has a character or a word that the sign cannot show; it is never altered
    ├── SignUnreachable        the line to the sign is down: nothing connects
    ├── SignTooLate            a page has too little time left, so it was not sent
    ├── SignSilent             the sign did not answer in time
    └── SignRefused            the sign answered that it failed, or answered something else than its protocol says
"""

from core.errors import SignboardError


class SignError(SignboardError):
    """A sign cannot show a text, or is not usable."""


class NotDrawable(SignError):
    """A text has a character or a word that the sign cannot show; logs have it, so it never quotes the text."""


class SignUnreachable(SignError):
    """Nothing connects at the sign's address."""


class SignTooLate(SignError):
    """A page has too little time left, so it was not sent."""


class SignSilent(SignError):
    """The sign did not answer in time."""


class SignRefused(SignError):
    """The sign failed, or its answer is not one of its protocol."""
