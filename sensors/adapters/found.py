"""What adapters give: values as found, requests to acknowledge; and what becomes of them: observations and rejects."""

from dataclasses import dataclass
from enum import Enum, StrEnum

from core.errors import SignboardError
from sensors.observation import Observation


class Reason(StrEnum):
    """Why a payload, or one value in it, gives no observation."""

    TOO_LARGE = "too_large"  # the payload is longer than any sensor's
    NOT_JSON = "not_json"
    WRONG_SHAPE = "wrong_shape"  # JSON, but no measurement of this format
    MISSING = "missing"  # the field is not there; it is not 0
    AMBIGUOUS = "ambiguous"  # several values, and nothing says which
    NULL = "null"
    UNAVAILABLE = "unavailable"  # the sender says that it has no value
    NOT_A_NUMBER = "not_a_number"  # text, true, a list
    NOT_FINITE = "not_finite"  # NaN, infinity, a number too large for a float
    SIMULATED = "simulated"  # the sender says that nobody measured it
    UNIT_MISSING = "unit_missing"  # neither payload nor settings name one
    UNIT_UNKNOWN = "unit_unknown"
    UNIT_CONFLICT = "unit_conflict"  # payload and settings name different ones
    RETAINED = "retained"  # kept by the broker since an unknown time
    TOO_OLD = "too_old"  # its own time is before anything that is still compared
    TIME_UNREADABLE = "time_unreadable"  # one of several values in a payload, without a usable time of its own


@dataclass(frozen=True, slots=True)
class Reject:
    """A value that was not read: whose, why, and in a few words what was there instead."""

    sensor: str
    reason: Reason
    detail: str


class Refused(SignboardError):  # noqa: D101  # never leaves the package: `adapt` turns it into a Reject
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Hole(Enum):
    """In the place of a value that cannot be one. No JSON document contains these."""

    MISSING = "nothing"
    SEVERAL = "several values"


@dataclass(frozen=True, slots=True)
class Found:
    """A value as it stands in the payload, unchecked.

    Args:
        value: a JSON value or a hole.
        unit: what the payload calls the unit.
        times: candidates for the measurement's time, the best one first.
        age: seconds from the measurement to the sending, from formats with relative times.
        key: the format's own id of the measurement.
        text: whether real senders of the format write numbers as text.
    """

    value: object
    unit: object = Hole.MISSING
    times: tuple[object, ...] = ()
    age: float | None = None
    key: str | None = None
    text: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A oneM2M request that its sender waits to have acknowledged.

    Args:
        verification: it only asks whether this receiver wants the subscription; without an OK there is none.
        id: the request's id; None: the HTTP header has it, or the sender does not wait.
        id_key: how the sender spells the id's name.
        to: the receiver, as the sender calls it.
        origin: the sender.
        release: the sender's release of the standard; since release 2 it wants it back.
        wrapped: the primitive came inside `m2m:rqp`, so the answer goes inside `m2m:rsp`.
    """

    verification: bool = False
    id: str | None = None
    id_key: str = "rqi"
    to: str | None = None
    origin: str | None = None
    release: str | None = None
    wrapped: bool = False


@dataclass(frozen=True, slots=True)
class Adapted:
    """What one payload says about one sensor. Nothing at all: it is about other devices."""

    observations: tuple[Observation, ...] = ()
    rejects: tuple[Reject, ...] = ()
    request: Request | None = None
