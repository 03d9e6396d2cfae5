"""A load of park sensors: every board sends a reading every few minutes, and all boards send on the hour.

Usage: locust -f benchmarks/locustfile.py --headless --host http://127.0.0.1:8080 -u 200 -r 50 -t 10m -s 15 --hour 3
In: a running gateway (`make gateway`), or vLLM itself with `--api openai`. `-u` is the number of boards. Every message
is checked. Exit code 1 if a goal is missed: `--goal-p99`, `--goal-errors`, or any wrong message. `--hour 3` shortens
the hour. The gateway must allow the load: SIGNBOARD_GATEWAY_RATE_LIMIT=100000/minute, SIGNBOARD_GATEWAY_BOARDS.
"""

import itertools
import random
import time
from typing import Any

import gevent
from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import WorkerRunner

from benchmarks.sensors import schedule
from core.checks import check_message
from core.park import Scene
from core.prompt import STOP_MARKERS, build_messages
from core.reading import Reading, usual_grid

WRONG = "wrong message: "
GRID = list(usual_grid())
NUMBERS = itertools.count()


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Add the network's shape and the goals."""
    parser.add_argument("--every", type=float, default=10.0, help="Minutes between a board's readings.")
    parser.add_argument("--hour", type=float, default=60.0, help="Minutes between bursts, in which all boards send.")
    parser.add_argument("--burst", type=float, default=5.0, help="Seconds over which a burst is spread.")
    parser.add_argument("--api", choices=("gateway", "openai"), default="gateway", help="The host's API.")
    parser.add_argument("--model", default="signboard", help="The model's name, for --api openai.")
    parser.add_argument("--key", default="", env_var="SIGNBOARD_KEY", is_secret=True, help="The gateway's key.")
    parser.add_argument("--goal-p99", type=float, default=5000.0, help="Most milliseconds for 99 of 100 answers.")
    parser.add_argument("--goal-errors", type=float, default=0.001, help="Share of requests that may fail.")


class Board(FastHttpUser):
    """One board with its sensor."""

    network_timeout = connection_timeout = 60.0

    begin = 0.0  # of the test; shared by all boards, so that they have a common hour

    def on_start(self) -> None:
        """Take a place in the schedule and wait for its first moment."""
        options: Any = self.environment.parsed_options
        self._rng = random.Random()
        self._moments = schedule(options.every * 60, options.hour * 60, options.burst, self._rng)
        self._name = f"load-{next(NUMBERS)}"  # the same names in every run: the gateway remembers 1,000 boards
        self._headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
        now = time.monotonic() - Board.begin  # it skips readings that were due before it started
        self._due = next(moment for moment in self._moments if moment >= now)
        gevent.sleep(self.wait_time())

    def wait_time(self) -> float:
        """Return the seconds until the next reading; 0 if it is due already."""
        return max(0.0, Board.begin + self._due - time.monotonic())

    @task
    def send(self) -> None:
        """Send the reading that is due."""
        due, self._due = self._due, next(self._moments)
        self._ask(self._rng.choice(GRID), due)

    def _ask(self, reading: Reading, due: float) -> None:
        options: Any = self.environment.parsed_options
        late = time.monotonic() - Board.begin - due  # a reading waits from when it is due, not from when it is sent
        if options.api == "openai":
            path, body = "/v1/chat/completions", self._chat(reading, options.model)
        else:
            path = "/generate/temperature"
            body = {"yesterday_temp": reading.yesterday, "today_temp": reading.today, "board": self._name}
        with self.client.post(path, json=body, headers=self._headers, catch_response=True) as answer:
            answer.request_meta["response_time"] += 1000 * late
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code} {_code(answer)}")
                return
            try:
                body = answer.json()
                text = _text(body, options.api)
                scene = None if options.api == "openai" else Scene.of(body["season"], body["elements"])
            except (ValueError, LookupError, TypeError):
                answer.failure("200, but no message")
                return
            if problems := check_message(text, reading, scene):
                answer.failure(WRONG + problems[0].problem.value)

    @staticmethod
    def _chat(reading: Reading, model: str) -> dict[str, Any]:
        return {
            "model": model,
            "messages": build_messages(reading),
            "stop": list(STOP_MARKERS),
        }


def _text(body: dict[str, Any], api: str) -> str:
    return str(body["choices"][0]["message"]["content"] if api == "openai" else body["generated_text"]).strip()


def _code(answer: Any) -> str:
    """Return the gateway's stable code of an error, if the gateway sent it."""
    try:
        return str(answer.json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""


@events.test_start.add_listener
def start(**_: Any) -> None:
    """Record the start of the first hour."""
    Board.begin = time.monotonic()


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Print the verdict and set the exit code."""
    if isinstance(environment.runner, WorkerRunner):
        return
    options: Any = environment.parsed_options
    total = environment.stats.total
    wrong = sum(e.occurrences for e in environment.stats.errors.values() if WRONG in str(e.error))
    p99 = total.get_response_time_percentile(0.99) if total.num_requests else float("inf")
    bursts = int((time.monotonic() - Board.begin) / (60 * options.hour))
    print(f"{bursts} bursts, in which every board sent within {options.burst:g} s (--hour {options.hour:g})")
    if any("429" in str(error.error) for error in environment.stats.errors.values()):
        print("The gateway's rate limit rejected requests: start it with SIGNBOARD_GATEWAY_RATE_LIMIT=100000/minute.")
    goals = {
        f"{total.num_requests} requests, at least 1": total.num_requests > 0,
        f"{wrong} wrong messages, at most 0": wrong == 0,
        f"{total.fail_ratio:.2%} errors, at most {options.goal_errors:.2%}": total.fail_ratio <= options.goal_errors,
        f"p99 {p99:.0f} ms, at most {options.goal_p99:.0f} ms": p99 <= options.goal_p99,
    }
    for goal, kept in goals.items():
        print(f"{'kept  ' if kept else 'MISSED'}  {goal}")
    environment.process_exit_code = 0 if all(goals.values()) else 1
