"""Metrics of what an operator watches: the boards, and the machine's disk, backups and certificates.

In: the boards and the settings, read at every scrape. Out: Prometheus' gauges, for the alerts in deploy/prometheus/.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import make_url

from gateway.backup import MANIFEST, backups_in
from gateway.boards import Boards
from gateway.settings import GatewaySettings


class BoardMetrics(Collector):
    """Each board's state. Boards that follow sensors are listed from the start, others from their first message.

    Args:
        boards: all boards.
        followed: the boards that follow a park's sensors.
    """

    def __init__(self, boards: Boards, followed: frozenset[str]) -> None:
        self._boards = boards
        self._followed = followed

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; never a message."""
        labels = ["board", "source"]
        blank = GaugeMetricFamily("signboard_board_blank", "1: the board shows nothing.", labels=labels)
        age = GaugeMetricFamily("signboard_board_message_age_seconds", "Since the message was written.", labels=labels)
        why = GaugeMetricFamily(
            "signboard_board_no_reading", "1: its sensors give no reading.", labels=["board", "reason"]
        )
        for name in sorted({*self._boards.names(), *self._followed}):
            board = self._boards.glance(name)
            source = "sensors" if name in self._followed else "callers"
            label = [name, "blanked" if board.blanked else source]  # on purpose: no alert
            blank.add_metric(label, board.age is None)
            if board.age is not None:
                age.add_metric(label, board.age)
            if board.no_reading:
                why.add_metric([name, board.no_reading], 1)
        yield from (blank, age, why)


class MachineMetrics(Collector):
    """The disk under the database, the age of the newest backup, and how long certificates are valid.

    Args:
        settings: the gateway's; what it does not name is not measured.
        clock: the wall clock, in seconds since 1970.
    """

    def __init__(self, settings: GatewaySettings, clock: Callable[[], float] = time.time) -> None:
        self._disk = disk_of(settings.database)
        self._backups = settings.backups
        self._certificates = [path for path in (settings.certificate, settings.broker_ca) if path]
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield from self._disks()
        if self._backups:
            age = self._clock() - newest(self._backups)
            yield GaugeMetricFamily("signboard_backup_age_seconds", "Since the newest backup; +Inf: none.", age)
        left = GaugeMetricFamily(
            "signboard_certificate_seconds", "Until a certificate ends; -Inf: not readable.", labels=["file"]
        )
        for path in self._certificates:
            left.add_metric([path.name], ends(path) - self._clock())
        yield left

    def _disks(self) -> Iterator[Metric]:
        if self._disk and self._disk.is_dir():
            usage = shutil.disk_usage(self._disk)
            yield GaugeMetricFamily("signboard_disk_free_bytes", "Free, on the disk of the database.", usage.free)
            yield GaugeMetricFamily("signboard_disk_size_bytes", "The size of that disk.", usage.total)


def disk_of(database: str) -> Path | None:
    """Return the folder of a database's file; None: a server has it, and watches its own disk."""
    url = make_url(database)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database).absolute().parent


def newest(folder: Path) -> float:
    """Return when a folder's newest backup or file was finished, in seconds since 1970; -inf: there is none."""
    try:
        files = [path for path in folder.iterdir() if path.is_file()]
        finished = (path / MANIFEST for path in backups_in(folder))
        return max((path.stat().st_mtime for path in (*files, *finished)), default=float("-inf"))
    except OSError:  # no such folder, or a file that was just pruned: the next scrape sees it
        return float("-inf")


def ends(certificate: Path) -> float:
    """Return when a file's first certificate to end does, in seconds since 1970; -inf: there is none to read."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        found = load_pem_x509_certificates(certificate.read_bytes())
    except (OSError, ValueError):
        return float("-inf")
    return min(one.not_valid_after_utc.timestamp() for one in found)
