"""An observation: what one sensor measured, once. Adapters make them; everything after reads only them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Observation:
    """One measurement of air temperature.

    `value` is in °C; adapters convert from the unit that the payload or the sensor's settings name. Times are aware, in
    UTC. `measured_at` is the payload's own time, or the arrival where the payload has none (`timed` is then false).
    Two deliveries of one measurement have the same `key`.
    """

    sensor: str
    value: float
    measured_at: datetime
    received_at: datetime
    key: str
    timed: bool = True
