"""docs/sensors.md and the park to try: what they tell operators to write and to run works, in both languages."""

import re
import subprocess

import pytest
import yaml

from sensors.adapters import ADAPTERS
from sensors.park_sensors import DeviceFile, SensorsFile, read_park_sensors
from tests.conftest import ROOT

PAGES = ["sensors.md", "sensors.ko.md"]


def rows(page: str) -> dict[str, str]:
    """Return adapter → what to write in the park's file."""
    found = re.findall(r"^\| `(\w+)` \| .*? \| (?:`([^`]*)`)?", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("page", PAGES)
def test_each_adapter_has_a_row_whose_line_is_a_sensor(page: str) -> None:
    assert rows(page).keys() == ADAPTERS.keys()
    for adapter, line in rows(page).items():
        written = f"{{id: lake-1, adapter: {adapter}{', ' if line else ''}{line}}}"
        assert DeviceFile.model_validate(yaml.safe_load(written)).adapter == adapter


@pytest.mark.parametrize("page", PAGES)
def test_the_example_of_a_park_file_is_one(page: str) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    assert len(SensorsFile.model_validate(yaml.safe_load(block)["sensors"]).devices) == 2


def test_make_park_says_what_to_install_where_the_broker_is_missing() -> None:
    command = ["make", "--no-print-directory", "mosquitto", "MOSQUITTO=no-such-broker"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "apt-get install mosquitto" in done.stdout


def test_the_park_to_try_has_three_sensors() -> None:
    park = read_park_sensors(ROOT / "parks/try/try.yaml", "Asia/Seoul")
    assert park is not None
    assert [one.id for one in park.sensors] == ["lawn", "pond", "hill"]
