"""Signs over real sockets and a real serial port; the gateway as a process with a sign; the command line."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.scripted_server import GOOD, eventually, right_answer, saying, scripted
from core.ports import free_port
from signs.dabit import Dabit, DabitSettings
from signs.errors import SignError, SignRefused, SignSilent, SignUnreachable
from signs.line import Place
from signs.simulator import Controller, Lie
from signs.simulator_lines import TcpSimulator, UdpSimulator
from tests.conftest import ROOT, run_room
from tests.service.test_gateway_process import gateway_process
from tests.service.test_sensors import course
from tests.service.test_sensors import settings as sensor_settings
from tests.support.gateway_server import running_gateway
from tests.support.sign import park_file, serial_sign, simulated_sign

PAGE = ("산책로를 걸어", "보세요.")
TEN_TWENTY = {"yesterday_temp": 10, "today_temp": 20, "board": "lake", "park": "lake"}


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await work()

    asyncio.run(main())


def shows(controller: Controller) -> str:
    return " ".join(controller.text.split())


def driver(url: str, **more: Any) -> Dabit:
    return Dabit(Place.at(url).line(), DabitSettings(20, 2, patience=0.5, **more))


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (Lie.SILENT, SignSilent),
        (Lie.DEAF, SignSilent),
        (Lie.OTHER_ADDRESS, SignSilent),
        (Lie.HALF, SignSilent),
        (Lie.LATE, SignSilent),
        (Lie.FAILED, SignRefused),
        (Lie.GARBAGE, SignRefused),
        (Lie.CUT, SignUnreachable),
    ],
)
def test_over_tcp_every_lie_is_an_error_and_the_next_command_works(lie: Lie, error: type[SignError]) -> None:
    async def work() -> None:
        controller = Controller((160, 32), late=0.7)
        async with TcpSimulator([controller]) as sign:
            one = driver(sign.url)
            await one.show(PAGE, 60)
            assert shows(controller) == " ".join(PAGE)
            controller.odds = {lie: 1}
            with pytest.raises(error):
                await one.blank()
            controller.odds = {}
            await one.show(("다른 문구",), 60)
            assert shows(controller) == "다른 문구"
            await one.close()

    run(work)


def test_a_late_answer_does_not_confirm_the_next_command() -> None:
    async def work() -> None:
        controller = Controller((160, 32), late=0.7)
        async with TcpSimulator([controller]) as sign:
            one = driver(sign.url)
            controller.odds = {Lie.LATE: 1}
            with pytest.raises(SignSilent):
                await one.show(PAGE, 60)
            controller.odds = {Lie.SILENT: 1}  # the next command is lost while the late answer is on its way
            confirmed = True
            try:
                await one.blank()
            except SignSilent:
                confirmed = False
            await one.close()
            assert not confirmed
            assert shows(controller) == " ".join(PAGE)

    run(work)


def test_a_reset_is_noticed_by_the_lost_line() -> None:
    async def work() -> None:
        controller = Controller((160, 32))
        async with TcpSimulator([controller]) as sign:
            one = driver(sign.url)
            controller.odds = {Lie.RESET: 1}
            await one.show(PAGE, 60)
            controller.odds = {}
            await asyncio.sleep(0.1)
            assert shows(controller) == ""
            assert one.lost
            await one.show(PAGE, 60)
            assert not one.lost
            await one.close()

    run(work)


def test_every_sign_of_a_line_notices_that_it_broke_and_gets_its_brightness_again() -> None:
    async def work() -> None:
        one, two = Controller((160, 32), "1"), Controller((160, 32), "A")
        async with TcpSimulator([one, two]) as sign:
            line = Place.at(sign.url).line()
            first, second = (Dabit(line, DabitSettings(20, 2, address, brightness=40, patience=1)) for address in "1A")
            for each in (first, second):
                await each.show(PAGE, 60)
            assert not first.lost
            one.odds = {Lie.CUT: 1}
            with pytest.raises(SignUnreachable):
                await first.blank()
            one.odds = {}
            two.reset()
            two.brightness = 99
            await first.show(PAGE, 60)
            assert not first.lost
            assert second.lost, "the first one's command opened the line again"
            await second.blank()
            assert not second.lost
            await second.show(PAGE, 60)
            assert (two.brightness, shows(two)) == (40, " ".join(PAGE))
            await line.close()

    run(work)


def test_nothing_at_the_address_is_said() -> None:
    async def work() -> None:
        for kind in ("tcp", "udp"):
            with pytest.raises(SignUnreachable, match="cannot be reached"):
                await driver(f"{kind}://127.0.0.1:{free_port()}").blank()

    run(work)


def test_over_udp() -> None:
    async def work() -> None:
        controller = Controller((160, 32), late=0.7)
        sign = UdpSimulator([controller])
        one = driver(await sign.start())
        await one.show(PAGE, 60)
        assert shows(controller) == " ".join(PAGE)
        controller.odds = {Lie.LATE: 1}
        with pytest.raises(SignSilent):
            await one.blank()
        controller.odds = {Lie.SILENT: 1}
        await asyncio.sleep(0.3)  # the late answer comes, to a port that is closed
        with pytest.raises(SignSilent):
            await one.show(PAGE, 60)
        controller.odds = {}
        assert "7.50" in await one.status()
        sign.stop()

    run(work)


def test_over_a_serial_port_two_signs_share_the_line_by_their_addresses() -> None:
    async def work() -> None:
        one, two = Controller((160, 32), "1"), Controller((160, 32), "A")
        with serial_sign(one, two) as url:
            line = Place.at(url).line()
            first, second = (Dabit(line, DabitSettings(20, 2, address, patience=1)) for address in "1A")
            await asyncio.gather(first.show(PAGE, 60), second.show(("둘째",), 60))
            assert (shows(one), shows(two)) == (" ".join(PAGE), "둘째")
            two.odds = {Lie.HALF: 1}
            with pytest.raises(SignSilent):
                await second.blank()
            await first.blank()
            assert shows(one) == ""
            await line.close()

    run(work)


# The gateway with a sign


def settings(folder: Path, url: str, more: str = "") -> dict[str, Any]:
    line = f'  - {{name: gate, driver: dabit, url: "{url}", patience_seconds: 0.5, page_seconds: 1{more}}}'
    return {"parks": park_file(folder, line), "park": "lake"}


def one_sign(client: httpx.Client) -> dict[str, Any]:
    (found,) = client.get("/boards/lake/signs").json()
    return dict(found)


def test_a_message_reaches_the_sign_and_the_api_says_so(tmp_path: Path) -> None:
    with (
        simulated_sign() as sign,
        scripted(saying(GOOD)) as model,
        running_gateway(model.url, **settings(tmp_path, sign.tcp.url)) as client,
    ):
        assert eventually(lambda: one_sign(client)["state"] == "blank")
        assert client.post("/generate/temperature", json=TEN_TWENTY).json()["board"] == "lake"
        first, second = (sentence + "." for sentence in GOOD.rstrip(".").split(". "))
        assert eventually(lambda: sign.shows == first)
        assert eventually(lambda: sign.shows == second), "the pages take turns"
        found = one_sign(client)
        assert (found["state"], found["text"], found["error"]) == ("shown", GOOD, None)
        assert client.get("/signs").json() == [one_sign(client)] or client.get("/signs").json()[0]["sign"] == "gate"
        text = client.get("/metrics").text
        assert 'signboard_sign_state{sign="gate",state="shown"} 1.0' in text
        assert 'signboard_sign_deliveries_total{result="confirmed",sign="gate"}' in text
    assert sign.shows == "", "a gateway that stops blanks its signs"


def test_readings_come_in_and_a_confirmed_message_is_on_the_sign(tmp_path: Path) -> None:
    with simulated_sign() as sign, scripted(right_answer) as model:
        options = sensor_settings(tmp_path, "\n    - {id: lake-post}\n")
        with (options["parks"] / "lake.yaml").open("a", encoding="utf-8") as park:
            park.write(f'signs:\n  - {{driver: dabit, url: "{sign.tcp.url}"}}\n')
        with running_gateway(model.url, **options) as client:
            body = b"[" + b",".join(course(10, 16)) + b"]"
            headers = {"content-type": "application/json"}
            assert client.post("/sensors/lake-post/readings", content=body, headers=headers).status_code == 200
            assert eventually(lambda: one_sign(client)["state"] == "shown")
            message = client.get("/boards/lake").json()["message"]
            assert (message["yesterday_temp"], message["today_temp"]) == (10, 16)
            assert one_sign(client)["text"] == message["generated_text"]
            assert sign.shows
            assert sign.shows in message["generated_text"]


def test_a_sign_that_was_off_shows_the_present_message_when_it_is_back(tmp_path: Path) -> None:
    with (
        simulated_sign() as sign,
        scripted(saying(GOOD)) as model,
        running_gateway(model.url, **settings(tmp_path, sign.tcp.url, ", refresh_seconds: 2")) as client,
    ):
        client.post("/generate/temperature", json=TEN_TWENTY)
        assert eventually(lambda: one_sign(client)["state"] == "shown")
        sign.switch_off()
        assert eventually(lambda: one_sign(client)["state"] == "failed")
        found = one_sign(client)
        assert found["text"] is None
        assert "cannot be reached" in found["error"]
        assert found["failed_since"]
        sign.switch_on()
        assert eventually(lambda: sign.shows != "")
        assert eventually(lambda: one_sign(client)["failed_since"] is None)


def test_sigterm_blanks_the_sign_and_after_a_kill_the_command_line_does(tmp_path: Path) -> None:
    with simulated_sign() as sign, scripted(saying(GOOD)) as model:
        told = settings(tmp_path, sign.tcp.url)
        variables = {f"SIGNBOARD_GATEWAY_{name.upper()}": str(value) for name, value in told.items()}
        for how in (signal.SIGTERM, signal.SIGKILL):
            with gateway_process(model.url, tmp_path / "log", **variables) as (process, url):
                httpx.post(f"{url}/generate/temperature", json=TEN_TWENTY, timeout=20, trust_env=False)
                assert eventually(lambda: sign.shows != "")
                process.send_signal(how)
                process.wait(20)
            assert bool(sign.shows) is (how is signal.SIGKILL), "RAM without a timer keeps the last page"
        done = run_room("signs", "blank", "--parks", str(told["parks"]))
        assert (done.returncode, done.stdout) == (0, "gate: blank\n")
        assert sign.shows == ""


def test_a_wrong_list_of_signs_stops_the_start_and_says_why(tmp_path: Path) -> None:
    park_file(tmp_path, "  - {driver: dabit, url: sign-1}")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "run", f"--port={free_port()}"],
        cwd=ROOT,
        env=os.environ | {"SIGNBOARD_GATEWAY_PARKS": str(tmp_path), "SIGNBOARD_GATEWAY_PARK": "lake"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "signs: 0.dabit.url" in done.stderr
    assert "tcp://HOST:5000" in done.stderr


# The command line


def test_the_command_line_tries_a_sign_and_says_what_is_wrong(tmp_path: Path) -> None:
    with simulated_sign() as sign:
        parks = str(settings(tmp_path, sign.tcp.url)["parks"])
        done = run_room("signs", "test", "gate", "--seconds", "0", "--parks", parks)
        assert done.returncode == 0, done.stderr
        assert "firmware DABIT 7.50" in done.stdout
        assert done.stdout.endswith("confirmed: blank\n")
        sign.controller.odds = {Lie.SILENT: 1}
        done = run_room("signs", "test", "gate", "--parks", parks)
        assert done.returncode == 1
        assert "did not answer within 0.5 s" in done.stderr
        done = run_room("signs", "blank", "--parks", parks)
        assert done.returncode == 1
    done = run_room("signs", "test", "pond", "--parks", parks)
    assert done.returncode == 1
    assert "Use one of: gate" in done.stderr


def test_the_command_line_tests_a_timer(tmp_path: Path) -> None:
    with simulated_sign(Controller((160, 32), speed=240)) as sign:
        parks = str(settings(tmp_path, sign.tcp.url)["parks"])
        done = run_room("signs", "test", "gate", "--timer", "--parks", parks)
        assert done.returncode == 0, done.stderr
        assert "gone in 2 minutes" in done.stdout
        assert eventually(lambda: sign.shows == "")


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_the_command_line_simulates_a_sign_and_keeps_its_picture(tmp_path: Path, kind: str) -> None:
    url, picture = f"{kind}://127.0.0.1:{free_port()}", tmp_path / "sign.png"
    command = [sys.executable, "-m", "signs", "simulate", "--url", url, "--picture", str(picture)]
    log = tmp_path / "log"
    with log.open("wb") as file, subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            assert eventually(lambda: "listening" in log.read_text(), 30), log.read_text()
            empty = picture.read_bytes()
            parks = str(settings(tmp_path, url)["parks"])
            done = run_room("signs", "test", "gate", "--seconds", "0.2", "--parks", parks)
            assert done.returncode == 0, done.stderr
            assert eventually(lambda: "(blank)" in log.read_text().rpartition("시험")[2])
            assert picture.read_bytes() == empty
            with (
                socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) if kind == "tcp" else nullcontext()
            ):
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 130
        finally:
            process.kill()
    assert "shows: 전광판 시험 1234." in log.read_text()
    assert "Traceback" not in log.read_text()
