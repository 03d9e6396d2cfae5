"""What the gateway measures of its boards and its machine, for the alerts."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from benchmarks.sign_faults import show_now
from gateway.observed import BoardMetrics, MachineMetrics, disk_of
from gateway.settings import GatewaySettings
from sensors.days import NoReading
from tests.unit.gateway.test_boards import PARK, Clock, message

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def values(collector: Collector) -> dict[str, dict[tuple[str, ...], float]]:
    """Return name → label values → value."""
    registry = CollectorRegistry()
    registry.register(collector)
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def certificate(path: Path, *ends: datetime) -> Path:
    """Write self-signed certificates that end then."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "park.example")])
    made = [
        x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - timedelta(days=365), end).sign(
            key, hashes.SHA256()
        )
        for end in ends
    ]
    path.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in made))
    return path


def machine(folder: Path, **settings: Path) -> dict[str, dict[tuple[str, ...], float]]:
    store = {"database": f"sqlite:///{folder / 'signboard.db'}"}
    return values(MachineMetrics(GatewaySettings(**(store | settings)), NOW.timestamp))  # type: ignore[arg-type]


def test_a_board_that_shows_something_is_not_blank_and_has_an_age() -> None:
    clock = Clock(3)
    boards = clock.boards()
    show_now(boards, "lake", boards.ticket("lake", PARK), message())
    clock.passes(hours=2)
    found = values(BoardMetrics(boards, frozenset({"lake"})))
    assert found["signboard_board_blank"] == {("lake", "sensors"): 0}
    assert found["signboard_board_message_age_seconds"] == {("lake", "sensors"): 7200}
    clock.passes(hours=5)
    found = values(BoardMetrics(boards, frozenset({"lake"})))
    assert found["signboard_board_blank"] == {("lake", "sensors"): 1}
    assert "signboard_board_message_age_seconds" not in found


def test_a_board_that_follows_sensors_is_there_before_its_first_message() -> None:
    boards = Clock(3).boards()
    show_now(boards, "office", boards.ticket("office", PARK), message())
    boards.explain("pond", NoReading.NO_YESTERDAY)
    found = values(BoardMetrics(boards, frozenset({"lake", "pond"})))
    assert found["signboard_board_blank"] == {("lake", "sensors"): 1, ("office", "callers"): 0, ("pond", "sensors"): 1}
    assert found["signboard_board_no_reading"] == {("pond", "no_yesterday"): 1}


def test_the_disk_of_the_store_is_measured_where_we_have_it(tmp_path: Path) -> None:
    found = machine(tmp_path)
    (free,), (size,) = (found[f"signboard_disk_{what}_bytes"].values() for what in ("free", "size"))
    assert 0 < free <= size
    assert disk_of(f"sqlite:///{tmp_path}/signboard.db") == tmp_path
    assert disk_of("sqlite:///runs/signboard.db") == Path("runs").absolute()
    assert disk_of("sqlite://") is None
    assert disk_of("postgresql://signboard@db/signboard") is None
    assert "signboard_disk_free_bytes" not in machine(tmp_path / "not there")


def test_the_newest_backup_counts_and_none_is_infinitely_old(tmp_path: Path) -> None:
    assert "signboard_backup_age_seconds" not in machine(tmp_path), "nobody named a folder"
    backups = tmp_path / "backups"
    assert machine(tmp_path, backups=backups)["signboard_backup_age_seconds"] == {(): float("inf")}
    backups.mkdir()
    assert machine(tmp_path, backups=backups)["signboard_backup_age_seconds"] == {(): float("inf")}
    for name, hours in (("old.db", 30), ("new.db", 3)):
        (backups / name).write_text("")
        os.utime(backups / name, (NOW.timestamp(), NOW.timestamp() - hours * 3600))
    (backups / "folder").mkdir()
    assert machine(tmp_path, backups=backups)["signboard_backup_age_seconds"] == {(): 3 * 3600}


def test_the_first_certificate_to_end_counts_and_an_unreadable_one_has_ended(tmp_path: Path) -> None:
    proxy = certificate(tmp_path / "proxy.pem", NOW + timedelta(days=90), NOW + timedelta(days=10))
    broken = tmp_path / "ca.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----")
    found = machine(tmp_path, certificate=proxy, broker_ca=broken)["signboard_certificate_seconds"]
    assert found == {("proxy.pem",): 10 * 86400, ("ca.pem",): float("-inf")}


def test_a_board_that_is_kept_blank_has_a_source_of_its_own() -> None:
    boards = Clock(3).boards()
    boards.blank_for("lake", 600)
    found = values(BoardMetrics(boards, frozenset({"lake"})))
    assert found["signboard_board_blank"] == {("lake", "blanked"): 1}
