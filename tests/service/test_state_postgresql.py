"""Database and boards on a real PostgreSQL: tests of tests/unit/database and tests/unit/gateway/test_board_store.py."""

import pytest

from tests.support.postgres import Postgres
from tests.unit.conftest import database  # noqa: F401
from tests.unit.database.test_database import (  # noqa: F401  # pytest collects them here, with this module's `url`
    test_a_filled_database_goes_down_and_up_step_by_step_and_keeps_what_the_older_version_knows,
    test_a_newer_database_is_refused_and_left_alone,
    test_many_programs_may_open_a_new_database_at_once,
    test_opening_again_changes_nothing,
    test_the_migrations_make_the_tables_of_the_code,
)
from tests.unit.gateway.test_board_store import (  # noqa: F401
    test_a_board_shows_after_a_restart_what_it_showed_with_its_sign_and_history,
    test_a_clock_that_is_set_back_while_the_gateway_runs_gives_no_more_time_after_a_reboot,
    test_a_clock_that_was_set_back_less_than_the_messages_age_gives_it_no_more_time_in_the_same_boot,
    test_a_clock_that_was_set_back_while_the_gateway_was_away_blanks_what_is_from_the_future,
    test_a_message_comes_back_as_it_was,
    test_a_message_from_the_future_is_replaced_by_any,
    test_a_restart_gives_no_message_another_day,
    test_a_restart_gives_no_message_more_time,
    test_many_messages_at_once_are_few_commits,
    test_readings_are_ordered_though_the_clock_is_set_back_a_little_between_them,
    test_storing_twice_is_storing_once,
    test_the_history_is_bounded_and_a_dropped_board_is_gone,
    test_the_younger_measurement_wins_whoever_wrote_it_and_a_tie_goes_to_the_later_writer,
    test_two_gateways_show_the_younger_measurement,
    test_while_the_database_is_down_messages_are_shown_and_stored_later_unless_a_younger_one_is_there,
)


@pytest.fixture
def url(server: Postgres) -> str:
    return server.new_database()
