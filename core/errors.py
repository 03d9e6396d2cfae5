"""The project's exception tree.

SignboardError                 what is wrong, and what to do next
├── ReadingError               a temperature is not usable
├── ParkError                  a park, a season or a park element is not known
├── MessageError               no message passed the checks
├── CorpusError                a data row breaks a rule (file, line, reason)
├── RecipeError                a recipe cannot be read
├── SettingError               an option or environment variable has an unusable value
├── ArtefactError              an artefact is missing, incomplete or does not verify
│   └── SignatureError         an artefact is not signed by the key that the operator trusts
├── StageError                 a stage's result must not be used
│   └── VerdictError           the 4-bit checkpoint is not good enough to be served
└── ServiceError               a server or its machine is not usable
    ├── ServerUnavailable      nothing answers at the address
    ├── ServerTimeout          the server answers too late
    ├── ServerFailed           the server answers with an error status
    ├── BadAnswer              the server's answer is not a chat completion
    └── PromptMismatch         the server reads our prompt as other tokens than the model was trained on
"""

from typing import Any


class SignboardError(Exception):
    """Base of every error that is written for the user.

    Args:
        what: the fault, in one sentence.
        todo: the remedy, in one sentence.
    """

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(what, todo)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.what}\n  → {self.todo}" if self.todo else self.what


class ReadingError(SignboardError, ValueError):
    """A temperature is not a number, not finite, or outside the range that the model was trained on."""


class ParkError(SignboardError, ValueError):
    """A park cannot be read, or one of its words is not on the closed lists."""


class MessageError(SignboardError):
    """The model wrote no acceptable message within the allowed samples.

    Args:
        what: the fault, in one sentence.
        todo: the remedy, in one sentence.
        rejected: the rejected samples with their problems, in the client's order.
    """

    def __init__(self, what: str, todo: str = "", rejected: tuple[Any, ...] = ()) -> None:
        super().__init__(what, todo)
        self.rejected = rejected


class CorpusError(SignboardError):
    """A row of training data breaks a rule."""


class RecipeError(SignboardError):
    """A recipe is missing, malformed or has unknown keys."""


class SettingError(SignboardError, ValueError):
    """An option or environment variable has an unusable value."""


class ArtefactError(SignboardError):
    """An artefact is missing, incomplete or does not match its manifest."""


class SignatureError(ArtefactError):
    """An artefact has no signature, or not one of the trusted key; or signatures cannot be made or checked here."""


class StageError(SignboardError):
    """A stage's result must not be used."""


class VerdictError(StageError):
    """The 4-bit checkpoint misses the thresholds of its recipe, or has no verdict."""


class ServiceError(SignboardError):
    """A server, or the machine it should run on, is not usable."""


class ServerUnavailable(ServiceError):
    """Nothing answers at the server's address."""


class ServerTimeout(ServiceError):
    """The server did not answer in time."""


class ServerFailed(ServiceError):
    """The server answered with an error status."""


class BadAnswer(ServiceError):
    """The server's answer is not a usable chat completion."""


class PromptMismatch(ServiceError):
    """The server reads our prompt as other tokens than the model was trained on."""
