"""The DABIT driver and its simulator without sockets: what is refused, what goes out, what the sign shows."""

import asyncio
import unicodedata
from collections.abc import Callable

import pytest

from core.errors import SettingError
from core.sign import DEFAULT_SIGN
from signs.dabit import HOLDS, Blank, Dabit, DabitSettings, Encoding, hold
from signs.dabit_frame import command
from signs.errors import NotDrawable, SignRefused, SignSilent, SignTooLate
from signs.line import Answer, Find, Line, Place, SerialLine, TcpLine, UdpLine
from signs.park_signs import DabitFile, ParkSign
from signs.simulator import Controller, Lie, read_odds
from signs.simulator_lines import Connection
from signs.trial import try_sign

TEXT = "어제보다 10도 올라 포근합니다. 활짝 핀 꽃길을 따라 걸어보세요."


class Wire(Line):
    """A line straight into a controller."""

    def __init__(self, *controllers: Controller) -> None:
        super().__init__("wire://")
        self.sent: list[bytes] = []
        self._connection = Connection(controllers, self._take, lambda: None)

    async def _ask(self, command: bytes, find: Find[Answer]) -> Answer:
        self.sent.append(command)
        self._came = b""
        self._connection.take(command)
        if (answer := find(self._came)) is None:
            raise TimeoutError
        return answer

    def _take(self, data: bytes) -> None:
        self._came += data


class Sign:
    """A driver, its controller and the wire between them."""

    def __init__(self, **settings: object) -> None:
        self.clock = 100.0
        self.controller = Controller(size=(192, 48), clock=lambda: self.clock)
        self.wire = Wire(self.controller)
        told = DabitSettings(columns=24, rows=3, **settings)  # type: ignore[arg-type]
        self.driver = Dabit(self.wire, told, lambda: self.clock)

    def show(self, text: str = TEXT, page: int = 0, left: float = 3600) -> float | None:
        return asyncio.run(self.driver.show(self.driver.pages(text)[page], left))


def test_pages_go_out_line_by_line_and_the_sign_shows_them() -> None:
    sign = Sign()
    assert sign.driver.pages(TEXT) == [("어제보다 10도 올라", "포근합니다."), ("활짝 핀 꽃길을 따라", "걸어보세요.")]
    assert sign.show() is None
    first = sign.wire.sent[0]
    assert first.startswith(b"![010" + "어제보다 10도 올라 ".encode("euc-kr"))
    assert sign.controller.text == "어제보다 10도 올라" + " " * 6 + "포근합니다."
    assert unicodedata.is_normalized("NFC", sign.controller.text)
    picture = sign.controller.picture()
    assert picture.crop((0, 0, 192, 16)).getbbox()
    assert picture.crop((0, 16, 192, 32)).getbbox()
    assert not picture.crop((0, 32, 192, 48)).getbbox()


def test_nothing_goes_into_the_controllers_flash() -> None:
    sign = Sign(brightness=50, blank=Blank.SCREEN_OFF, timer=600)
    for page in (0, 1):
        sign.show(page=page)
    asyncio.run(sign.driver.blank())
    assert {frame[4:5] for frame in sign.wire.sent} == {b"0", b"2", b"5"}, "no page message (1), no clearing (6)"


@pytest.mark.parametrize("text", ["1/2", "a!]", "뷁", "☃", unicodedata.normalize("NFD", "가을"), "가" * 13])
def test_what_the_sign_cannot_show_is_refused_before_anything_is_sent(text: str) -> None:
    sign = Sign()
    with pytest.raises(NotDrawable):
        sign.driver.pages(text)
    assert sign.wire.sent == []


def test_the_encoding_is_a_setting() -> None:
    assert Sign(encoding=Encoding.CP949).driver.pages("뷁") == [("뷁",)]
    sign = Sign(encoding=Encoding.CP949)
    with pytest.raises(SignRefused):  # the simulated sign has KS X 1001 only
        sign.show("뷁")
    assert sign.controller.text == ""


def test_a_blank_sign_shows_nothing() -> None:
    for blank in Blank:
        sign = Sign(blank=blank)
        sign.show()
        assert sign.controller.text
        asyncio.run(sign.driver.blank())
        assert sign.controller.text == ""
        assert not sign.controller.picture().getbbox()
        assert sign.controller.screen_on is (blank is Blank.SPACE)
        sign.show()
        assert sign.controller.text


@pytest.mark.parametrize(
    ("seconds", "code", "held"),
    [(0.3, "00", 0), (0.5, "01", 0.5), (39.9, "79", 39.5), (119, "80", 40), (120, "90", 120), (7200, "95", 3600)],
)
def test_a_hold_is_never_longer_than_what_is_left(seconds: float, code: str, held: float) -> None:
    assert hold(seconds) == (code, held)
    assert hold(10**6) == ("98", max(HOLDS))


def test_with_a_timer_the_sign_blanks_by_itself_and_never_after_the_messages_limit() -> None:
    sign = Sign(timer=600)
    assert sign.show(left=3600) == 600
    sign.clock += 599
    assert sign.controller.text
    sign.clock += 1
    assert sign.controller.text == ""
    assert sign.show(left=122) == 40, "the command may be on its way for as long as an answer is waited for"
    assert sign.show(left=130) == 120
    sign.clock += 120
    assert sign.controller.text == ""
    commands = sign.controller.commands
    with pytest.raises(SignTooLate):
        sign.show(left=0.2)
    assert sign.controller.commands == commands, "nothing was sent"


def test_the_trial_of_a_timer_uses_the_controllers_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    sign = Sign()
    told = DabitFile(driver="dabit", url="tcp://sign")
    gate = ParkSign("gate", "lake", "lake", "Asia/Seoul", told, DEFAULT_SIGN)
    monkeypatch.setattr("signs.trial.drivers", lambda _: {"gate": sign.driver})
    asyncio.run(try_sign(gate, TEXT, lambda _: None, timer=True))
    sign.clock += 119
    assert sign.controller.text
    sign.clock += 1
    assert sign.controller.text == ""


def wait_for_the_line(sign: Sign, seconds: float, left: float) -> float | None:
    """Show a page while another sign has the line for some seconds."""

    async def work() -> float | None:
        async with sign.wire._turn:
            showing = asyncio.create_task(sign.driver.show(("산책",), left))
            await asyncio.sleep(0)
            sign.clock += seconds
        return await showing

    return asyncio.run(work())


def test_a_page_that_waits_for_its_turn_is_not_sent_after_its_limit_and_not_held_past_it() -> None:
    for timer in (None, 600):
        sign = Sign(timer=timer)
        with pytest.raises(SignTooLate):
            wait_for_the_line(sign, 10, left=9.9)
        assert sign.wire.sent == []
    assert wait_for_the_line(Sign(timer=600), 10, left=130) == 40, "not 120: ten seconds of it are gone"
    assert wait_for_the_line(Sign(timer=600), 10, left=140) == 120


def test_a_screen_that_is_off_is_not_switched_on_after_the_pages_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    sign = Sign(blank=Blank.SCREEN_OFF)
    asyncio.run(sign.driver.blank())
    ask = Wire._ask

    async def slow(wire: Wire, command: bytes, find: Find[Answer]) -> Answer:
        sign.clock += 2
        return await ask(wire, command, find)

    monkeypatch.setattr(Wire, "_ask", slow)
    with pytest.raises(SignTooLate):
        sign.show(left=1)
    assert not sign.controller.screen_on


def test_brightness_is_set_once_and_again_after_a_failure() -> None:
    sign = Sign(brightness=40)
    sign.show()
    sign.show()
    assert sum(frame[4:6] == b"50" for frame in sign.wire.sent) == 1
    assert sign.controller.brightness == 40
    sign.controller.odds = {Lie.SILENT: 1}
    with pytest.raises(SignSilent):
        sign.show()
    sign.controller.odds = {}
    sign.show()
    assert sum(frame[4:6] == b"50" for frame in sign.wire.sent) == 2


def test_the_status_is_the_firmware() -> None:
    assert asyncio.run(Sign().driver.status()).startswith("firmware DABIT 7.50")


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (Lie.SILENT, SignSilent),
        (Lie.OTHER_ADDRESS, SignSilent),
        (Lie.HALF, SignSilent),
        (Lie.FAILED, SignRefused),
        (Lie.GARBAGE, SignRefused),
    ],
)
def test_every_lie_is_an_error(lie: Lie, error: type[Exception]) -> None:
    sign = Sign()
    sign.controller.odds = {lie: 1}
    with pytest.raises(error):
        sign.show()


def test_signs_on_one_line_answer_to_their_own_address() -> None:
    one, two = Controller(address="1"), Controller(address="A")
    wire = Wire(one, two)
    driver = Dabit(wire, DabitSettings(24, 3, address="A"))
    asyncio.run(driver.show(("산책",), 60))
    assert (one.text, two.text) == ("", "산책")


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (b"![000Hello/C1 world!]", b"![0000!]"),
        (b"![010ABCD!]33", b"![0100!]07"),
        (b"![010ABCD!]34", b"![010F!]71"),  # a wrong check
        (b"![000/Q1x!]", b"![000F!]"),  # no such attribute
        (b"![000/C!]", b"![000F!]"),
        (b"![000\xff\xff!]", b"![000F!]"),  # no EUC-KR
        (b"![0061!]", b"![0061F!]"),  # an unknown command
        (b"![300x!]", b""),  # another sign's
    ],
)
def test_the_simulator_is_strict(frame: bytes, answer: bytes) -> None:
    assert Controller().obey(frame) == answer


def test_display_control_shows_a_message_so_many_times_or_not_at_all() -> None:
    now = 0.0
    controller = Controller(clock=lambda: now)
    controller.obey(command("0", "0", b"/D0201/S2002x", check=True))
    assert controller.text == "x"
    now = 2.0
    assert controller.text == "", "twice a second"
    controller.obey(command("0", "0", b"/D0000x", check=True))
    assert controller.text == ""


def test_a_reset_empties_the_ram() -> None:
    sign = Sign()
    sign.show()
    sign.controller.reset()
    assert sign.controller.text == ""


def test_lies_are_read_from_text() -> None:
    assert read_odds(["late@0.1", "reset@0.02"]) == {Lie.LATE: 0.1, Lie.RESET: 0.02}
    for wrong in (["late"], ["lat@0.1"], ["late@0.6", "half@0.6"], ["late@-1"]):
        with pytest.raises(SettingError):
            read_odds(wrong)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("tcp://sign-1.example:5000", TcpLine),
        ("tcp://10.0.0.7", TcpLine),
        ("udp://10.0.0.7:5000", UdpLine),
        ("serial:///dev/ttyUSB0", SerialLine),
        ("serial:///dev/ttyUSB0?baud=115200", SerialLine),
    ],
)
def test_addresses_are_read(url: str, kind: Callable[..., Line]) -> None:
    assert type(Place.at(url).line()) is kind


@pytest.mark.parametrize(
    "url",
    [
        *("", "sign-1", "http://sign-1", "tcp://", "tcp://a:99999", "tcp://u@a", "tcp://a/x", "serial:///"),
        *(
            "serial://tty0",
            "serial:///dev/tty0?baud=1200",
            "serial:///dev/tty0?speed=9600",
            "serial:///dev/tty0?baud=x",
        ),
    ],
)
def test_other_addresses_are_rejected(url: str) -> None:
    with pytest.raises(SettingError, match="sign's address"):
        Place.at(url)
