"""The store on a real PostgreSQL: the tests of tests/unit/sensors/test_store.py, and what only a server can do."""

import json
from pathlib import Path

import pytest

from benchmarks.scripted_server import eventually, right_answer, scripted
from database.faults import DatabaseError
from sensors.store import SensorStore
from tests.service.test_sensors import PATIENCE, course, settings, shown
from tests.support.gateway_server import running_gateway
from tests.support.postgres import PASSWORD, Postgres
from tests.unit.sensors.test_store import (  # noqa: F401  # pytest collects them here, with this module's `url`
    checked,
    everything,
    store,
    test_a_repeated_key_is_kept_once_with_its_first_value,
    test_an_observation_comes_back_as_it_was,
    test_between_is_ordered_by_measurement_and_leaves_its_end_out,
    test_every_value_comes_back_exactly,
    test_latest_is_the_last_measured_not_the_last_received_and_never_of_the_future,
    test_more_observations_than_one_statement_holds_are_one_transaction,
    test_not_a_number_comes_back_as_such,
    test_prune_deletes_what_is_older_of_every_sensor,
    test_threads_share_a_store,
    test_what_was_acknowledged_survives_a_kill_and_what_was_not_is_whole_or_absent,
)


@pytest.fixture
def url(server: Postgres) -> str:
    return server.new_database()


def test_a_database_that_crashes_loses_nothing_acknowledged_and_is_used_again(
    store: SensorStore,  # noqa: F811
    server: Postgres,
) -> None:
    assert store.add(checked("before"))
    server.stop()
    with pytest.raises(DatabaseError, match=r"(?s)cannot be written.*→ Check that the database runs") as caught:
        store.add(checked("while it is down"))
    assert PASSWORD not in str(caught.value)
    server.start()
    assert store.add(checked("after"))
    server.stop()
    server.start()
    assert store.add(checked("restarted meanwhile")), "the connection that is dead is noticed before it is used"
    assert {one.observation.key for one in everything(store)} == {"before", "after", "restarted meanwhile"}


def test_the_gateway_runs_on_it(url: str, tmp_path: Path) -> None:
    with (
        scripted(right_answer) as model,
        running_gateway(model.url, **settings(tmp_path, database=url)) as client,
    ):
        bodies = [json.loads(one) for one in course(10, 16)]
        assert client.post("/sensors/lake-post/readings", json=bodies).status_code == 200
        assert client.post("/sensors/lake-post/readings", json=bodies).json()["repeated"] == len(bodies)
        assert eventually(lambda: shown(client) == (10, 16), PATIENCE)
        assert len(client.get("/sensors/lake-post/observations").json()) == len(bodies)


def test_a_wrong_password_is_named_and_not_shown(url: str) -> None:
    with pytest.raises(DatabaseError, match=r"(?s)cannot be opened.*password authentication failed") as caught:
        SensorStore.open(url.replace("s3cret", "guess"))
    assert "guess" not in str(caught.value)
