"""The exception tree of the whole line.

SignboardError                 what is wrong, and what to do next
├── ReadingError               a temperature is not usable
├── MessageError               no message passed the checks
├── CorpusError                a data row breaks a rule (file, line, reason)
├── RecipeError                a recipe cannot be read
├── SettingError               a setting has a value that means nothing
├── ArtefactError              an artefact is missing, incomplete or does not verify
├── StageError                 a stage ran and its result is not acceptable
│   └── VerdictError              the 4-bit checkpoint is not good enough to be served
└── ServiceError               a server or its machine is not usable
    ├── ServerUnavailable      nothing answers at the address
    ├── ServerTimeout          it answers too late
    ├── ServerFailed           it answers with an error status
    ├── BadAnswer              it answers with something that is not a chat completion
    └── PromptMismatch         it reads our prompt as other tokens than the model was trained on
"""

from typing import Any


class SignboardError(Exception):
    """Base of every error a user is meant to read.

    Args:
        what: one sentence on what is wrong.
        todo: one sentence on what to do about it.
    """

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(what, todo)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.what}\n  → {self.todo}" if self.todo else self.what


class ReadingError(SignboardError, ValueError):
    """A temperature is not a number, not finite or outside the hard limits."""


class MessageError(SignboardError):
    """The model wrote no acceptable message within the allowed samples.

    Args:
        what: as for every error.
        todo: as for every error.
        rejected: the samples with their problems, as the client collected them.
    """

    def __init__(self, what: str, todo: str = "", rejected: tuple[Any, ...] = ()) -> None:
        super().__init__(what, todo)
        self.rejected = rejected


class CorpusError(SignboardError):
    """A row of training data breaks a rule."""


class RecipeError(SignboardError):
    """A recipe is missing, malformed or has unknown keys."""


class SettingError(SignboardError, ValueError):
    """A setting, of an option or the environment, has a value that means nothing."""


class ArtefactError(SignboardError):
    """An artefact is missing, incomplete or does not match its manifest."""


class StageError(SignboardError):
    """A stage produced something that must not be used."""


class VerdictError(StageError):
    """The 4-bit checkpoint misses the thresholds of its recipe, or was never compared with them."""


class ServiceError(SignboardError):
    """A server, or the machine it should run on, is not usable."""


class ServerUnavailable(ServiceError):
    """Nothing answers at the server's address."""


class ServerTimeout(ServiceError):
    """The server did not answer in time."""


class ServerFailed(ServiceError):
    """The server answered with an error status."""


class BadAnswer(ServiceError):
    """The server answered, but not with a usable chat completion."""


class PromptMismatch(ServiceError):
    """The server turns our prompt into other tokens than the model was trained on."""
