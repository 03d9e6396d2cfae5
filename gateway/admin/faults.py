"""What counts as wrong: the alerts of deploy/prometheus/alerts.yml, applied to the gateway's own metrics.

In: a scrape of now, and those of an hour ago. Out: a `Fault` for each alert and what it concerns. The thresholds are
the alerts', and a test compares both. Alerts wait before they call somebody; a page need not, where the value is clear.
GatewayDown, NoLeader, RouterDown, ServerOut, ModelQueue and KvCacheFull are not here: the gateway cannot see
them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.admin.scrape import HOUR, MINUTE, History, Scrape

URGENT = frozenset({
    "ModelDown", "BreakerOpen", "DatabaseDown", "BrokerLost", "DiskFull", "CertificateEnded", "SignDeaf",
    "BoardBlank",
})  # fmt: skip
# Causes before what follows from them.
ORDER = (
    "ModelDown", "BreakerOpen", "DatabaseDown", "BrokerLost", "DiskFull", "CertificateEnded", "SignDeaf", "BoardBlank",
    "ParkFileWrong", "LookFailed", "NoMessage", "RequestsRefused", "SensorSilent", "ReadingsDoubted",
    "ParkWithoutReading", "SignRefused", "PublisherLost", "SamplesRejected", "BoardMessageOld", "BoardForgotten",
    "DiskFilling", "BackupOld", "CertificateEnds", "ParkFileChanged",
)  # fmt: skip
# Seconds for which it must have been so: as long as the alert waits, where one moment says little.
PATIENCE = {"BoardForgotten": 3 * HOUR, "ReadingsDoubted": HOUR, "RequestsRefused": 15 * MINUTE}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong.

    `code` is the alert's name or one of docs/admin.md, `subject` the board, park, sensor, sign or file that it
    concerns, or empty.
    """

    code: str
    subject: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A gauge's values that are a fault; `subject` is the label that names what it concerns."""

    code: str
    metric: str
    wrong: Callable[[float], bool]
    subject: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    detail: str = ""  # the label that says more


def _on(value: float) -> bool:
    return value == 1


def _off(value: float) -> bool:
    return value == 0


def _within(low: float, high: float) -> Callable[[float], bool]:
    return lambda value: low <= value < high


SENSORS, CALLERS = (("source", "sensors"),), (("source", "callers"),)
NEVER = float("-inf")
RULES = (
    Rule("BreakerOpen", "signboard_breaker_open", _on),
    Rule("DatabaseDown", "signboard_database_up", _off),
    Rule("BrokerLost", "signboard_broker_connected", _off),
    Rule("PublisherLost", "signboard_publisher_connected", _off),
    Rule("BoardBlank", "signboard_board_blank", _on, "board", SENSORS),
    Rule("BoardForgotten", "signboard_board_blank", _on, "board", CALLERS),
    Rule("BoardMessageOld", "signboard_board_message_age_seconds", lambda age: age > 4 * HOUR, "board", SENSORS),
    Rule("ParkWithoutReading", "signboard_board_no_reading", _on, "board", detail="reason"),
    Rule("SensorSilent", "signboard_sensor_missing", _on, "sensor"),
    Rule("SignDeaf", "signboard_sign_state", _on, "sign", (("state", "failed"),)),
    Rule("SignRefused", "signboard_sign_state", _on, "sign", (("state", "refused"),)),
    Rule("BackupOld", "signboard_backup_age_seconds", lambda age: age > 26 * HOUR),
    Rule("CertificateEnds", "signboard_certificate_seconds", _within(24 * HOUR, 14 * 24 * HOUR), "file"),
    Rule("CertificateEnded", "signboard_certificate_seconds", _within(NEVER, 24 * HOUR), "file"),
)


def faults(now: Scrape, history: History) -> Iterator[Fault]:
    """Yield what is wrong by the metrics."""
    too_early = {labels["board"] for labels, _ in now.of("signboard_board_no_reading", reason="too_early")}
    for rule in RULES:
        for labels, value in now.of(rule.metric, **dict(rule.labels)):
            expected = rule.code in ("BoardBlank", "ParkWithoutReading") and labels["board"] in too_early
            if rule.wrong(value) and not expected:
                yield Fault(rule.code, labels.get(rule.subject, ""), labels.get(rule.detail, ""))
    yield from _disk(now)
    yield from _messages(now, history.before(HOUR))
    yield from _readings(now, history.before(HOUR))
    yield from _refused(now, history.before(15 * MINUTE))


def _disk(now: Scrape) -> Iterator[Fault]:
    size, free = now.total("signboard_disk_size_bytes"), now.total("signboard_disk_free_bytes")
    if size and free / size < 0.1:
        yield Fault("DiskFull" if free / size < 0.03 else "DiskFilling", detail=f"{free / size:.1%}")


def _messages(now: Scrape, before: Scrape) -> Iterator[Fault]:
    for code, metric, result, share, least in (
        ("SamplesRejected", "signboard_samples_total", "rejected", 0.3, 20),
        ("NoMessage", "signboard_messages_total", "none", 0.05, 10),
    ):
        part, whole = (now.total(metric, **of) - before.total(metric, **of) for of in ({"result": result}, {}))
        if whole > least and part / whole > share:
            yield Fault(code, detail=f"{part / whole:.0%}")


def _readings(now: Scrape, before: Scrape) -> Iterator[Fault]:
    metric = "signboard_observations_total"
    for sensor in sorted({labels["sensor"] for labels, _ in now.of(metric)}):
        whole = now.total(metric, sensor=sensor) - before.total(metric, sensor=sensor)
        good = now.total(metric, sensor=sensor, flag="good") - before.total(metric, sensor=sensor, flag="good")
        if whole and 1 - good / whole > 0.5:
            yield Fault("ReadingsDoubted", sensor, f"{1 - good / whole:.0%}")


def _refused(now: Scrape, before: Scrape) -> Iterator[Fault]:
    metric, counts = "signboard_requests_total", [0.0, 0.0]
    for labels, value in now.of(metric):
        if labels["route"].startswith("/generate/"):
            new = value - before.total(metric, **labels)
            counts[0] += new
            counts[1] += new if labels["status"] in ("503", "504") else 0
    if counts[0] and counts[1] / counts[0] > 0.05:
        yield Fault("RequestsRefused", detail=f"{counts[1] / counts[0]:.0%}")
