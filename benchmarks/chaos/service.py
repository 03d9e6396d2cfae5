"""The whole service on loopback, from its real components, and the network between them.

```
callers ─> haproxy ─> gateway-1, gateway-2 ─> router ─> vllm-1, vllm-2
sensors ─> mosquitto ─────────┘   │   └────> sign-1, sign-2
                              postgresql
```

Each arrow is a link (network.py). With SQLite there is one gateway and no PostgreSQL.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import yaml
from sqlalchemy import select

from benchmarks.chaos import sensors as sensors_of
from benchmarks.chaos.network import Network
from benchmarks.chaos.programs import FIRST_PORT, Ports, Program, supervise, wait_ready
from benchmarks.chaos.tally import Made, Sent
from core.errors import ServiceError
from core.ports import free_port, listens
from core.prompt import PROMPT_FILE, build_messages
from core.reading import Reading
from database.database import Database
from gateway.board_store import BOARDS
from pipeline.budget import context_length, read_budget
from pipeline.manifest import verify
from pipeline.recipe import Recipe
from sensors.observation import Observation
from sensors.quality import Checked, Flag
from sensors.store import SensorStore
from serve.flags import (
    fingerprint_flags,
    name_flags,
    on_cpu,
    trained_prompt,
    vllm_command,
    vllm_environment,
    vllm_flags,
)
from serve.preflight import check_memory
from serve.router import Router, health_path
from serve.settings import ServeSettings
from tests.support.haproxy import haproxy_command
from tests.support.postgres import PLACES, Postgres

ROOT = Path(__file__).parents[2]
SYSTEM = f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin"
BY_HAND = "park"  # a park without sensors: callers write for its board, and its sign shows it
QUICK = 4  # times as often as the others the one sensor that is broken measures: else its board has few messages
DEADLINE = 10.0  # the gateway's default
START_SECONDS = 600.0
SENSORS = ("sensor-1", "sensors")  # one of its own, and the others'


@dataclass(frozen=True, slots=True)
class Plan:
    """What the service looks like.

    Args:
        checkpoint: the folder of the 4-bit checkpoint.
        folder: for everything that it writes.
        parks: how many have a sensor and a board.
        every: seconds between two observations of a sensor.
        max_age: seconds for which a message may be shown.
        postgresql: two gateways on a PostgreSQL; else one on SQLite.
        first_port: the lowest port to take.
    """

    checkpoint: Path
    folder: Path
    parks: int
    every: float
    max_age: float
    postgresql: bool = True
    first_port: int = FIRST_PORT


def check_machine(plan: Plan) -> None:
    """Check that everything is here.

    Raises:
        ServiceError: a program is missing.
        ArtefactError: the checkpoint is missing or damaged.
    """
    wanted = {"mosquitto": SYSTEM, "haproxy": SYSTEM} | ({"initdb": PLACES} if plan.postgresql else {})
    packages = {"initdb": "postgresql"}
    for program, places in wanted.items():
        if not shutil.which(program, path=places):
            package = packages.get(program, program)
            raise ServiceError(f"{package} is missing.", f"As root: apt-get install {package}.")
    verify(plan.checkpoint)


class Service:
    """All components. Give it a new folder; `start` everything, and `stop` it in the end.

    Args:
        recipe: how the checkpoint is served.
        plan: the rest.
    """

    def __init__(self, recipe: Recipe, plan: Plan) -> None:
        self.plan, self._recipe = plan, recipe
        self.network = Network()
        self.programs: dict[str, Program] = {}
        self.boards = [f"p{number}" for number in range(plan.parks)]
        self.signs = {"sign-1": self.boards[0], "sign-2": BY_HAND}  # → the board that it shows
        self.gateways: dict[str, str] = {}  # → its own address, past the network
        self.acknowledged = [plan.folder / "sensor-1.jsonl", plan.folder / "sensors.jsonl"]
        self._ports = Ports(plan.first_port)
        self._answers = httpx.Client(trust_env=False, timeout=5)
        self._zone = _zone_of_noon()
        self._environments: dict[str, dict[str, str]] = {}
        self.database = ""
        self._reader: Database | None = None
        self._began = datetime.now(UTC)
        self._build()

    @property
    def url(self) -> str:
        """Where callers ask."""
        return f"http://127.0.0.1:{self._entrance}"

    async def start(self, tell: Callable[[str], None] = lambda _text: None) -> None:
        """Start everything and wait until it works.

        Sensors wait until a gateway hears the broker, which keeps messages only for who has come once.

        Raises:
            ServiceError: something does not start.
        """
        self.network.start()
        await self._start_database(tell)
        late = [self.programs[name] for name in SENSORS]
        early = [program for program in self.programs.values() if program not in late]
        for program in early:
            if not program.runs:
                program.start()
        await wait_ready(early, START_SECONDS, tell)
        while not await asyncio.to_thread(self._hears):
            await asyncio.sleep(0.1)
        for program in late:
            program.start()
        await wait_ready(late, START_SECONDS, tell)

    async def start_again(self, tell: Callable[[str], None] = lambda _text: None) -> None:
        """Start everything at once after `kill`; what ends because another part is not there yet starts again."""
        programs = list(self.programs.values())
        for program in programs:
            program.start()
        supervisor = asyncio.create_task(supervise(programs))
        try:
            await wait_ready(programs, START_SECONDS, tell, supervised=True)
        finally:
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)

    async def stop(self) -> None:
        """End every process that was started, and every link."""
        for program in self.programs.values():
            program.begin_stop()
        for program in self.programs.values():
            program.finish_stop()
        await self.network.stop()
        if self._reader:
            self._reader.close()
        shutil.rmtree(self._data, ignore_errors=True)
        self._answers.close()

    def kill(self, names: list[str] | None = None) -> None:
        """Kill components at once; all of them by default."""
        for name in names or list(self.programs):
            self.programs[name].kill()
            self.network.refuse(name)

    def environment(self, gateway: str) -> dict[str, str]:
        """Return the environment of a gateway."""
        return self._environments[gateway]

    def empty_database(self) -> str:
        """Return the URL of another database, where nothing is yet."""
        return self._postgres.new_database() if self._postgres else f"sqlite:///{self.plan.folder / 'restored.db'}"

    def leads(self, gateway: str) -> bool:
        """Return whether a gateway leads now."""
        return "signboard_leader 1.0" in self._metrics(gateway)

    def _hears(self) -> bool:
        """Return whether a gateway hears the broker."""
        return any("signboard_broker_connected 1.0" in self._metrics(name) for name in self.gateways)

    def _metrics(self, gateway: str) -> str:
        with suppress(httpx.HTTPError):
            return self._answers.get(f"{self.gateways[gateway]}/metrics").text
        return ""

    def shown_by(self, sign: str) -> str:
        """Return what a sign shows; one without a process is dark."""
        if not self.programs[sign].runs:
            return ""
        lines = self.programs[sign].log.read_text(encoding="utf-8").splitlines()
        told = next((line for line in reversed(lines) if line.startswith("shows: ")), "")
        return told.removeprefix("shows: ").replace("(blank)", "")

    def sent(self) -> list[Sent]:
        """Return what the sensors have sent so far."""
        return [one for file in self.acknowledged for one in sensors_of.read(file)]

    def made(self) -> list[Made]:
        """Return the present messages of the boards with sensors, from the database.

        Raises:
            DatabaseError: it could not be read.
        """
        table = BOARDS.c
        query = select(table.board, table.measured_at, table.written_at).where(table.board.in_(self.boards))
        self._reader = self._reader or Database.open(self.database)
        with self._reader.reading() as connection:
            return [
                Made(board, measured.timestamp(), written.timestamp())
                for board, measured, written in connection.execute(query)
            ]

    def stored(self) -> list[tuple[str, float]]:
        """Return the sensors and times of all observations in the database that were measured since the start."""
        ever = datetime.now(UTC) + timedelta(days=1)
        with SensorStore.open(self.database) as store:
            return [
                (name, one.observation.measured_at.timestamp())
                for name in self.boards
                for one in store.between(name, self._began, ever)
            ]

    # The components

    def _build(self) -> None:
        plan = self.plan
        plan.folder.mkdir(parents=True, exist_ok=True)
        self._postgres: Postgres | None = None
        self._data = plan.folder / "postgresql"
        if plan.postgresql:
            self._add_postgresql()
        self._add_broker()
        names = ["vllm-1", "vllm-2"]
        vllm = {name: self._add_vllm(name) for name in names}
        model = self._add_router(vllm)
        signs = {name: self._add_sign(name) for name in self.signs}
        gateways = ["gateway-1", "gateway-2"] if plan.postgresql else ["gateway-1"]
        ports = [self._add_gateway(name, model, signs, len(gateways)) for name in gateways]
        self._add_haproxy([self.network.link("haproxy", *one) for one in ports])
        self._add_sensors("sensor-1", self.boards[:1], plan.every / QUICK, self.acknowledged[0])
        self._add_sensors("sensors", self.boards[1:], plan.every, self.acknowledged[1])

    def _add(self, program: Program) -> None:
        self.programs[program.name] = program

    def _log(self, name: str) -> Path:
        return self.plan.folder / f"{name}.log"

    def _add_postgresql(self) -> None:
        self._data = Path(tempfile.mkdtemp(prefix="signboard-chaos-"))  # another user's: outside of our folders
        server = self._postgres = Postgres(self._data, self._ports.new())
        command, log = server.server_command(), self._data / "log"
        told = "5 s, assumed: Debian's unit leaves the restart to people"
        self._add(Program("postgresql", command, log, server.answers, 5, told, user=server.user, end=signal.SIGQUIT))

    async def _start_database(self, tell: Callable[[str], None]) -> None:
        if self._postgres:
            self.programs["postgresql"].start()
            await wait_ready([self.programs["postgresql"]], 120, tell)
            self.database = self._postgres.new_database()
            for name in self.gateways:
                port = self.network.port(name, "postgresql")
                self._environments[name]["SIGNBOARD_GATEWAY_DATABASE"] = self.database.replace(
                    f":{self._postgres.port}/", f":{port}/"
                )
        else:
            self.database = f"sqlite:///{self.plan.folder / 'signboard.db'}"
            self._environments["gateway-1"]["SIGNBOARD_GATEWAY_DATABASE"] = self.database
        self._began = datetime.now(UTC)
        self._fill_yesterday()

    def _fill_yesterday(self) -> None:
        """Store what every sensor measured a day before the run: one value, over its whole length."""
        start = self._began - timedelta(hours=24, minutes=12)
        times = [start + timedelta(minutes=5 * step) for step in range(24)]
        with SensorStore.open(self.database) as store:
            for park, name in enumerate(self.boards):
                value = float(sensors_of.yesterday(park))
                store.add_many(
                    [
                        Checked(Observation(name, value, at, at, f"yesterday/{at.timestamp()}"), Flag.GOOD)
                        for at in times
                    ]
                )

    def _add_broker(self) -> None:
        folder = self.plan.folder / "mosquitto"
        folder.mkdir(exist_ok=True)
        self._broker = self._ports.new()
        shipped = (ROOT / "deploy/mosquitto/mosquitto.conf").read_text(encoding="utf-8")
        changes = {
            "listener 1883": f"listener {self._broker} 127.0.0.1\nuser root",
            "allow_anonymous false": "allow_anonymous true",
            "password_file /tmp/passwords\n": "",
            "acl_file /mosquitto/config/acl\n": "",
            "/mosquitto/data/": f"{folder}/",
        }
        for old, new in changes.items():
            shipped = shipped.replace(old, new, 1)
        file = folder / "mosquitto.conf"
        file.write_text(shipped, encoding="utf-8")
        command = [shutil.which("mosquitto", path=SYSTEM) or "mosquitto", "-c", str(file)]
        told, log = "Restart=on-failure, compose's unless-stopped", self._log("mosquitto")
        self._add(Program("mosquitto", command, log, lambda: listens(self._broker), 0.1, told))

    def _add_vllm(self, name: str) -> int:
        port, recipe, checkpoint = self._ports.new(), self._recipe, self.plan.checkpoint
        context = context_length(checkpoint, read_budget(checkpoint), recipe.serve.max_model_len)
        cpu = on_cpu()
        if cpu:
            check_memory(recipe, checkpoint, context, servers=2)
        flags = vllm_flags(recipe, checkpoint, context, "127.0.0.1", port, cpu=cpu)
        flags += fingerprint_flags(checkpoint / PROMPT_FILE)
        self._prompt = trained_prompt(checkpoint / PROMPT_FILE)
        flags += name_flags(recipe, self._prompt)
        compiled = self.plan.folder.parent / "compiled"
        environment = vllm_environment(recipe, cpu=cpu, compiled=compiled)
        body = {"model": self._prompt, "messages": build_messages(Reading(10, 20)), "max_tokens": 1}

        def ready() -> bool:
            with suppress(httpx.HTTPError):
                answer = self._answers.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body)
                return answer.status_code == httpx.codes.OK
            return False

        told, log = "signboard-vllm.service", self._log(name)
        self._add(Program(name, vllm_command(flags), log, ready, 15, told, environment=environment))
        return port

    def _add_router(self, vllm: dict[str, int]) -> int:
        settings = ServeSettings(router_port=self._ports.new(), router_metrics_port=self._ports.new())
        links = [self.network.link("router", name, self._ports.new(), port) for name, port in vllm.items()]
        servers = tuple(f"http://127.0.0.1:{port}" for port in links)
        router = Router(servers, health_path(self._prompt), DEADLINE, settings)

        def ready() -> bool:
            return self._healthy(f"http://127.0.0.1:{settings.router_port}", "liveness")

        self._add(Program("router", router.command(), self._log("router"), ready, 1, "signboard-router.service"))
        return settings.router_port

    def _add_sign(self, name: str) -> int:
        port = self._ports.new()
        command = [sys.executable, "-m", "signs", "simulate", f"--url=tcp://127.0.0.1:{port}", "--size=160x32"]
        told = "5 s, assumed: the power comes back"
        self._add(Program(name, command, self._log(name), lambda: listens(port), 5, told))
        return port

    def _add_gateway(self, name: str, model: int, signs: dict[str, int], count: int) -> tuple[str, int, int]:
        port, link = self._ports.new(), self.network.link
        at_model, at_broker = link(name, "router", self._ports.new(), model), self._ports.new()
        link(name, "mosquitto", at_broker, self._broker)
        if self._postgres:
            link(name, "postgresql", self._ports.new(), self._postgres.port)
        at_signs = {sign: link(name, sign, self._ports.new(), target) for sign, target in signs.items()}
        self.gateways[name] = url = f"http://127.0.0.1:{port}"
        told = {
            "BROKER": f"mqtt://127.0.0.1:{at_broker}",
            "PARKS": str(self._write_parks(name, at_signs)),
            "PARK": BY_HAND,
            "GATEWAYS": str(count),
            "MESSAGE_GAP": "0",  # else a board changes every ten minutes
            "RENEW_SECONDS": str(self.plan.every / QUICK),  # each observation makes a message, changed or not
            "MAX_AGE": str(self.plan.max_age),
        }
        self._environments[name] = os.environ | {f"SIGNBOARD_GATEWAY_{key}": value for key, value in told.items()}
        command = [sys.executable, "-m", "gateway", "run", f"--port={port}"]
        command += [f"--model-url=http://127.0.0.1:{at_model}/v1"]
        log, environment = self._log(name), self._environments[name]
        told_by = "signboard-gateway.service"
        self._add(Program(name, command, log, lambda: self._healthy(url), 5, told_by, environment=environment))
        return name, self._ports.new(), port

    def _write_parks(self, gateway: str, signs: dict[str, int]) -> Path:
        folder = self.plan.folder / f"parks-{gateway}"
        folder.mkdir(exist_ok=True)
        shown = {board: sign for sign, board in self.signs.items()}
        for board in [*self.boards, BY_HAND]:
            told: dict[str, object] = {"name": "공원", "timezone": self._zone, "elements": ["벤치", "산책로"]}
            if board != BY_HAND:
                device = {"id": board, "adapter": "zigbee2mqtt", "topic": sensors_of.topic(board)}
                told["sensors"] = {"devices": [device | {"interval": self.plan.every}]}
            if board in shown:
                url = f"tcp://127.0.0.1:{signs[shown[board]]}"
                sign = {"name": shown[board], "driver": "dabit", "url": url, "size": "160x32", "timer_minutes": 2}
                told["signs"] = [sign]
            text = yaml.safe_dump(told, allow_unicode=True)
            (folder / f"{board}.yaml").write_text(text, encoding="utf-8")
        return folder

    def _add_haproxy(self, gateways: list[int]) -> None:
        port, self._entrance = self._ports.new(), self._ports.new()
        self.network.link("callers", "haproxy", self._entrance, port)
        unused = [free_port()] * (2 - len(gateways))
        command = haproxy_command(self.plan.folder / "haproxy.cfg", port, [*gateways, *unused])
        url, told = f"http://127.0.0.1:{port}", "Debian's unit: Restart=always"
        self._add(Program("haproxy", command, self._log("haproxy"), lambda: self._healthy(url), 0.1, told))

    def _add_sensors(self, name: str, boards: list[str], every: float, file: Path) -> None:
        link = self.network.link(name, "mosquitto", self._ports.new(), self._broker)
        command = [
            sys.executable,
            "-m",
            "benchmarks.chaos.sensors",
            str(link),
            str(every),
            str(file),
            *boards,
        ]
        told = "5 s, assumed: its own watchdog"

        def ready() -> bool:
            return file.exists() and file.stat().st_size > 0

        self._add(Program(name, command, self._log(name), ready, 5, told))

    def _healthy(self, url: str, path: str = "health") -> bool:
        try:
            return self._answers.get(f"{url}/{path}").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


def _zone_of_noon() -> str:
    """Return a time zone in which it is about noon: no board meets a midnight."""
    offset = (datetime.now(UTC).hour - 12) % 24
    return f"Etc/GMT{offset:+d}" if offset <= 12 else f"Etc/GMT-{24 - offset}"
