"""The kiosk page in headless Chromium: its pixels, its clocks, and what it outlives."""

import base64
import io
import itertools
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Frame, Page, Route, expect

import gateway.picture_routes
from benchmarks.scripted_server import Reply, Request, right_answer, scripted
from core.ports import free_port
from gateway.keys import KeyScope, new_key
from gateway.picture_routes import KIOSK
from gateway.pictures import PAGE_SECONDS
from signs.raster import SignProfile, render, strip
from tests.conftest import ROOT
from tests.service.conftest import chromium
from tests.support.gateway_server import running_gateway

SIZE = "width=192&height=48"
AMBER = (255, 176, 0)
PIXELS = """() => {
  const { data } = sign.getContext('2d').getImageData(0, 0, sign.width, sign.height);
  return [sign.width, sign.height, sign.dataset.page, sign.dataset.shift, btoa(String.fromCharCode(...data))];
}"""
LIT = """sign.width
  && sign.getContext('2d').getImageData(0, 0, sign.width, sign.height).data.some((value, i) => i % 4 < 3 && value)"""
SHOWN, BLANK = f"() => {LIT}", f"() => !({LIT})"
# Ready is not yet activated: a browser that ends in between may start without the worker.
INSTALLED = """navigator.serviceWorker.ready.then((registration) => new Promise((done) => {
  const worker = registration.active, look = () => worker.state == "activated" && done(true);
  worker.addEventListener("statechange", look);
  look();
}))"""


def show(client: httpx.Client, today: int = 36, board: str = "main") -> str:
    answer = client.post("/generate/temperature", json={"yesterday_temp": 33, "today_temp": today, "board": board})
    return str(answer.json()["generated_text"])


def hurry(page: Page) -> None:
    """Let the page's timers run four times faster."""
    page.add_init_script(
        "const timer = window.setTimeout; window.setTimeout = (work, pause) => timer(work, pause / 4);"
    )


@contextmanager
def kiosk(page: Page, query: str = SIZE, *, shows: bool = True, **settings: Any) -> Iterator[httpx.Client]:
    """Run a gateway whose board has a message, and open the board's page."""
    hurry(page)
    with scripted(right_answer) as model, running_gateway(model.url, **settings) as client:
        if shows:
            show(client)
        page.goto(f"{client.base_url}/sign/main?{query}")
        if shows:
            page.wait_for_function(SHOWN)
        yield client


def state(page: Page, name: str, timeout: float = 15_000) -> None:
    expect(page.locator("html")).to_have_attribute("data-state", name, timeout=timeout)


def movable(page: Page, clock: str = "performance") -> None:
    """Add `skipped` milliseconds to one of the page's clocks."""
    page.add_init_script(
        f"const real = {clock}.now.bind({clock}); window.skipped = 0; {clock}.now = () => real() + window.skipped;"
    )


def canvas(page: Page) -> tuple[Image.Image, int, int]:
    """Return what the page drew, and which page and shift it is."""
    width, height, number, shift, data = page.evaluate(PIXELS)
    return Image.frombytes("RGBA", (width, height), base64.b64decode(data)).convert("RGB"), int(number), int(shift)


def coloured(dots: Image.Image, rgb: tuple[int, int, int] = AMBER) -> Image.Image:
    """Return a bitmap in colour, made here and not by the gateway."""
    image = Image.new("RGB", dots.size)
    image.paste(rgb, mask=dots)
    return image


def picture(client: httpx.Client, query: str) -> Image.Image:
    return Image.open(io.BytesIO(client.get(f"/boards/main.png?{query}").content)).convert("RGB")


def screen(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def unturned(page: Page) -> tuple[Image.Image, int, Image.Image]:
    """Return what the page drew, which page it is, and the screen, all of one moment: time turns pages, too."""
    while True:
        drawn, number, _ = canvas(page)
        shot = screen(page)
        if canvas(page)[1] == number:
            return drawn, number, shot


def text_of(client: httpx.Client) -> str:
    return str(client.get("/boards/main").json()["message"]["generated_text"])


# Pixels


@pytest.mark.parametrize("size", ["192x48", "160x32:12", "96x64", "100x33:8"])
def test_canvas_screen_picture_and_raster_have_the_same_pixels(page: Page, size: str) -> None:
    width, height, font = re.fullmatch(r"(\d+)x(\d+):?(\d*)", size).groups()  # type: ignore[union-attr]
    query = f"width={width}&height={height}" + (f"&font={font}" if font else "")
    movable(page)
    with kiosk(page, query, ai_mark=False) as client:
        raster = render(text_of(client), SignProfile.parse(size))
        assert len(raster) >= 2
        seen: set[int] = set()
        while len(seen) < len(raster):
            drawn, number, whole = unturned(page)
            seen.add(number)
            assert drawn.tobytes() == coloured(raster[number]).tobytes()
            assert drawn.tobytes() == picture(client, f"{query}&page={number}").tobytes()
            assert whole.crop((0, 0, *drawn.size)).tobytes() == drawn.tobytes(), "one dot is one pixel"
            whole.paste((0, 0, 0), (0, 0, *drawn.size))
            assert not whole.getbbox(), "nothing else is on the screen"
            page.evaluate(f"window.skipped += {PAGE_SECONDS * 1000}")
            page.wait_for_function(f"() => sign.dataset.page != {number}")


def test_a_scrolling_sign_draws_the_raster_shifted(page: Page) -> None:
    with kiosk(page, "width=96&height=16&scroll=true", ai_mark=False) as client:
        whole, shifts = strip(text_of(client), SignProfile.parse("96x16")), set()
        for _ in range(5):
            drawn, _, shift = canvas(page)
            window = Image.new("1", (96, 16))
            window.paste(whole, (-shift, 0))
            assert drawn.tobytes() == coloured(window).tobytes()
            shifts.add(shift)
            page.wait_for_timeout(100)
        assert len(shifts) == 5


def test_a_line_with_changing_delays_does_not_make_the_text_tremble(page: Page) -> None:
    delays = itertools.cycle((0.0, 0.3))

    def late(route: Route) -> None:
        time.sleep(next(delays))
        route.continue_()

    page.route("**/frames*", late)
    with kiosk(page, "width=96&height=16&scroll=true"):
        shifts = page.evaluate("""() => new Promise((done) => {
          const shifts = [], end = performance.now() + 3000;
          (function look() {
            shifts.push(Number(sign.dataset.shift));
            if (performance.now() < end) requestAnimationFrame(look); else done(shifts);
          })();
        })""")
    backwards = [(one, following) for one, following in itertools.pairwise(shifts) if following < one]
    assert len(set(shifts)) > 20
    assert not [pair for pair in backwards if pair[1] > -80], "but for the beginning of the next round"


def test_mark_brightness_and_colour_are_those_of_the_picture(page: Page) -> None:
    with kiosk(page, f"{SIZE}&colour=00ff40", kiosk_brightness=40) as client:
        drawn, number, _ = canvas(page)
        assert drawn.tobytes() == picture(client, f"{SIZE}&colour=00ff40&page={number}").tobytes()
        assert drawn.getextrema() == ((0, 0), (0, 102), (0, 25))
        assert drawn.crop((160, 40, 192, 48)).getbbox(), "the AI mark"


def test_without_a_size_the_page_is_as_large_as_the_boards_sign(page: Page) -> None:
    with kiosk(page, "", sign="24x3") as client:
        drawn, number, _ = canvas(page)
        assert drawn.size == (192, 48)
        assert drawn.tobytes() == picture(client, f"page={number}").tobytes()


def test_a_dot_stays_a_pixel_on_a_screen_with_a_scale(browser: Browser) -> None:
    context = browser.new_context(device_scale_factor=1.5, viewport={"width": 300, "height": 100})
    page = context.new_page()
    with kiosk(page):
        drawn, _, _ = canvas(page)
        assert screen(page).crop((0, 0, *drawn.size)).tobytes() == drawn.tobytes()
    context.close()


def test_the_smooth_font_is_the_browsers(page: Page) -> None:
    with kiosk(page, f"{SIZE}&font=smooth"):
        drawn, _, _ = canvas(page)
        assert drawn.size == (192, 48)
        assert len(drawn.getcolors(10_000) or []) > 10, "grey edges"


# Clocks


@pytest.mark.parametrize("clock", ["Date", "performance"])
def test_a_stale_message_is_blanked_without_the_gateway_by_either_clock(page: Page, clock: str) -> None:
    movable(page, clock)
    with kiosk(page):
        pass
    state(page, "lost")
    assert page.evaluate(SHOWN)
    page.evaluate("window.skipped = 6 * 3600 * 1000")
    page.wait_for_function(BLANK)
    page.evaluate("window.skipped = 0")
    page.wait_for_timeout(1500)  # it draws once a second, changed or not
    assert page.evaluate(BLANK), "a clock that is set back brings nothing back"


def test_night_comes_by_the_pages_own_clock(page: Page) -> None:
    """The gateway foretells the change, then it is gone."""
    movable(page)
    start, end = (time.strftime("%H:%M", time.gmtime(time.time() + hours * 3600)) for hours in (1, 2))
    with kiosk(page, timezone="UTC", kiosk_night=f"{start}-{end}", kiosk_night_brightness=10, max_age=80_000):
        if page.evaluate(SHOWN):  # within an hour of midnight the message ends before the night begins
            assert canvas(page)[0].getextrema()[0] == (0, 255)
    page.evaluate("window.skipped = 3600 * 1000")
    page.wait_for_function("""() => {
      const { data } = sign.getContext('2d').getImageData(0, 0, sign.width, sign.height);
      return Math.max(...data.filter((_, i) => i % 4 == 0)) <= 25;
    }""")


def test_a_slow_answer_keeps_no_message_longer(page: Page) -> None:
    """The message is stale 3 s after it was written; the answer that brings it takes half of that."""
    held: list[Route] = []
    with scripted(right_answer) as model, running_gateway(model.url, max_age=3) as client:
        page.goto(f"{client.base_url}/sign/main?{SIZE}")
        page.route("**/frames*", lambda route: held.append(route))  # noqa: PLW0108 - a list.append takes no attributes
        state(page, "blank")
        while not held:
            page.wait_for_timeout(50)
        began = time.monotonic()
        show(client)
        answer = held[0].fetch()
        page.wait_for_timeout(1500)
        held[0].fulfill(response=answer)
        page.wait_for_function(SHOWN)
        page.wait_for_function(BLANK)
        assert time.monotonic() - began < 4.2


# What it outlives


def test_it_comes_back_after_the_gateway_and_shows_nothing_old(page: Page) -> None:
    port = free_port()
    with kiosk(page, port=port):
        pass
    state(page, "lost")
    with scripted(right_answer) as model, running_gateway(model.url, port=port):
        state(page, "shown")  # the gateway kept its message
        page.wait_for_function(SHOWN)
    state(page, "lost")
    with scripted(right_answer) as model, running_gateway(model.url, port=port, max_age=2) as client:
        state(page, "blank")
        assert page.evaluate(BLANK)
        show(client)
        page.wait_for_function(SHOWN)


def test_while_the_model_is_down_the_message_stays_until_it_is_stale(page: Page) -> None:
    is_down = threading.Event()

    def answer(request: Request) -> Reply:
        return Reply("no", 500) if is_down.is_set() else right_answer(request)

    hurry(page)
    with scripted(answer) as model, running_gateway(model.url, max_age=4) as client:
        page.goto(f"{client.base_url}/sign/main?{SIZE}")
        show(client)
        page.wait_for_function(SHOWN)
        is_down.set()
        assert client.post("/generate/temperature", json={"yesterday_temp": 1, "today_temp": 2}).status_code == 503
        page.wait_for_timeout(1000)
        assert page.evaluate(SHOWN)
        page.wait_for_function(BLANK)
        state(page, "blank")


def test_a_cut_network_costs_nothing_but_time(page: Page) -> None:
    with kiosk(page) as client:
        page.context.set_offline(True)
        state(page, "lost")
        assert page.evaluate(SHOWN)
        page.context.set_offline(False)
        show(client, 34)
        state(page, "shown")


def test_an_answer_that_never_comes_is_given_up(page: Page) -> None:
    with kiosk(page):
        page.route("**/frames*", lambda _: None)
        state(page, "lost")
        page.unroute("**/frames*")
        state(page, "shown")


def test_a_new_build_is_loaded_once(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with kiosk(page, shows=False, port=port):
        state(page, "blank")
        page.evaluate(INSTALLED)
    loads: list[str] = []
    page.on("framenavigated", lambda frame: loads.append(frame.url))
    monkeypatch.setattr(gateway.picture_routes, "build_of_kiosk", lambda: "anotherbuild")
    with scripted(right_answer) as model, running_gateway(model.url, port=port):
        expect(page.locator("html")).to_have_attribute("data-build", "anotherbuild", timeout=15_000)
        state(page, "blank")
        page.wait_for_timeout(1500)
        page.wait_for_function("() => caches.keys().then((names) => names.join() == 'signboard-anotherbuild')")
    assert len(loads) == 1


def test_an_old_page_from_a_cache_between_is_not_reloaded_for_ever(page: Page) -> None:
    with kiosk(page, shows=False):
        state(page, "blank")
        loads: list[str] = []
        page.on("framenavigated", lambda frame: loads.append(frame.url))
        page.on("requestfailed", lambda request: loads.append(request.url) if "sign/main" in request.url else None)

        def another(route: Route) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, json=answer.json() | {"build": "never"})

        def announced(route: Route) -> None:  # to the page's question, not to the navigation
            if route.request.is_navigation_request():
                route.continue_()
            else:
                route.fulfill(body="never</html>")

        page.route("**/frames*", another)
        page.route("**/sign/main*", announced)
        page.wait_for_timeout(3000)
    assert len(loads) == 1


@contextmanager
def player(browser: Browser, folder: Path, *flags: str) -> Iterator[Page]:
    """Start a browser of its own, with a profile that outlives it."""
    context = browser.browser_type.launch_persistent_context(folder, executable_path=chromium(), args=list(flags))
    try:
        yield context.pages[0]
    finally:
        context.close()


def test_a_player_that_restarts_without_network_shows_no_error_page(browser: Browser, tmp_path: Path) -> None:
    """The browser is started anew with the same profile while nothing answers; then the gateway is back."""
    port = free_port()
    with player(browser, tmp_path) as page, kiosk(page, port=port):
        page.evaluate(INSTALLED)
    with player(browser, tmp_path) as page:
        hurry(page)
        page.goto(f"http://127.0.0.1:{port}/sign/main?{SIZE}")
        state(page, "lost")
        assert not screen(page).getbbox(), "black, neither an error page nor the old message"
        with scripted(right_answer) as model, running_gateway(model.url, port=port) as client:
            show(client)
            page.wait_for_function(SHOWN)


@pytest.mark.parametrize("trusted", [True, False])
def test_over_plain_http_the_service_worker_needs_the_flag_of_the_guide(
    browser: Browser, tmp_path: Path, trusted: bool
) -> None:
    secret, line = new_key("kiosk", [KeyScope.BOARD])
    port = free_port()
    flags = ["--host-resolver-rules=MAP gateway 127.0.0.1"]
    flags += [f"--unsafely-treat-insecure-origin-as-secure=http://gateway:{port}"] * trusted
    with (
        scripted(right_answer) as model,
        running_gateway(model.url, port=port, keys=line),
        player(browser, tmp_path, *flags) as page,
    ):
        page.goto(f"http://gateway:{port}/sign/main?{SIZE}#key={secret}")
        state(page, "blank")
        assert page.evaluate("'serviceWorker' in navigator") is trusted
        if trusted:
            page.evaluate(INSTALLED)
    assert "--unsafely-treat-insecure-origin-as-secure=" in (ROOT / "docs/players.md").read_text(encoding="utf-8")


@contextmanager
def serving(port: int, body: str, status: int = 200, **headers: str) -> Iterator[None]:
    """Answer every request with one page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "text/html", **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


FOREIGN: dict[str, dict[str, Any]] = {
    "a proxy's error": {"body": "<h1>502 Bad Gateway</h1></html>", "status": 502},
    "a login page": {"body": "<h1>Welcome to our hotel</h1></html>"},
    "half a page of ours": {"body": "<h1>half", "X_Signboard_Build": "x"},
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_the_service_worker_keeps_foreign_pages_out(page: Page, foreign: dict[str, Any]) -> None:
    port = free_port()
    with kiosk(page, shows=False, port=port):
        page.evaluate(INSTALLED)
        state(page, "blank")
    with serving(port, **foreign):
        page.reload()
        state(page, "lost")
        assert not screen(page).getbbox()


def test_the_start_page_on_the_players_disk_waits_for_the_gateway(browser: Browser) -> None:
    port = free_port()
    context = browser.new_context()
    page = context.new_page()
    hurry(page)
    page.goto(f"{(KIOSK / 'start.html').as_uri()}#http://127.0.0.1:{port}/sign/main?{SIZE}#key=none")
    page.wait_for_timeout(500)
    assert not screen(page).getbbox()
    with scripted(right_answer) as model, running_gateway(model.url, port=port):
        page.wait_for_url(f"http://127.0.0.1:{port}/sign/main?{SIZE}#key=none")
        state(page, "blank")
    context.close()


# Keys and faults


@pytest.mark.parametrize("where", ["#key=", "user:"])
def test_the_key_stands_in_the_address(page: Page, where: str) -> None:
    secret, line = new_key("kiosk", [KeyScope.SIGN])
    office, other = new_key("office", [KeyScope.BOARD])
    with scripted(right_answer) as model, running_gateway(model.url, keys=f"{line} {other}") as client:
        client.headers["authorization"] = f"Bearer {office}"
        show(client)
        address = f"{client.base_url}/sign/main?{SIZE}"
        in_front = address.replace("http://", f"http://user:{secret}@")
        page.goto(in_front if where == "user:" else address + where + secret)
        page.wait_for_function(SHOWN)


def test_a_players_key_opens_what_a_player_needs_and_changes_nothing() -> None:
    secret, line = new_key("kiosk", [KeyScope.SIGN])
    with scripted(right_answer) as model, running_gateway(model.url, keys=line) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        assert [client.get(f"/boards/main{what}").status_code for what in (".png", "/frames")] == [200, 200]
        for path in ("/", "/boards/main", "/boards/main/history", "/events", "/metrics", "/sensors"):
            assert client.get(path).json()["code"] == "no_scope"
        assert client.post("/generate/temperature", json={"yesterday_temp": 1, "today_temp": 2}).status_code == 403


def test_without_its_key_it_stays_black_and_asks_nobody_for_a_password(page: Page) -> None:
    _, line = new_key("kiosk", [KeyScope.BOARD])
    with kiosk(page, shows=False, keys=line) as client:
        state(page, "key")
        assert not screen(page).getbbox()
        assert client.get("/boards/main/frames").headers["www-authenticate"].startswith("Bearer")
        assert client.get("/boards/main").headers["www-authenticate"].startswith("Basic")


def test_a_wrong_address_says_in_the_title_what_is_wrong(page: Page) -> None:
    with kiosk(page, f"{SIZE}&colur=red", shows=False):
        state(page, "refused")
        assert "colur" in page.title()
        assert not screen(page).getbbox()


def test_a_message_that_the_sign_cannot_show_leaves_it_black(page: Page) -> None:
    with kiosk(page, "width=32&height=16", shows=False) as client:
        show(client)
        state(page, "problem")
        assert "dots" in page.title()
        assert not screen(page).getbbox()
        assert client.get("/boards/main.png?width=32&height=16").json()["code"] == "not_drawable"


# Engines and layouts

WITHOUT = {
    "clocks and frames": "delete window.performance; delete window.requestAnimationFrame;",
    "what came since 2015": "delete window.fetch; delete window.Promise; delete window.Proxy; delete window.Symbol;"
    "delete Navigator.prototype.serviceWorker; delete Navigator.prototype.storage; delete Document.prototype.fonts;",
}


@pytest.mark.parametrize("script", WITHOUT.values(), ids=WITHOUT)
def test_it_depends_on_no_newer_feature_of_the_engine(browser: Browser, script: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(script)
    with kiosk(page, f"{SIZE}&scroll=true", shows=False) as client:
        show(client)
        state(page, "shown")
    context.close()


NOT_ES5 = r"=>|`|\.\.\.|\?\.[a-z(\[]|\?\?|\*\*|\b(?:let|const|class|async|await|yield|import|export)\b|\bvar \w+ of\b"


@pytest.mark.parametrize("name", ["kiosk.js", "worker.js", "start.html"])
def test_its_scripts_are_es5(name: str) -> None:
    """By words, at every run; `python -m benchmarks.old_engines` runs the page in real old engines."""
    code = re.sub(r"(?m)//.*$", "", re.sub(r"(?s)<!--.*?-->", "", (KIOSK / name).read_text(encoding="utf-8")))
    assert not re.findall(NOT_ES5, code)


def test_nine_boards_run_in_one_browser_as_frames_of_a_players_layout(page: Page) -> None:
    port = free_port()
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        for number in range(9):
            show(client, 30 + number, f"b{number}")
        sources = [f"{client.base_url}/sign/b{number}?width=96&height=32" for number in range(9)]
        with serving(port, "".join(f'<iframe src="{source}"></iframe>' for source in sources)):
            page.goto(f"http://127.0.0.1:{port}/")
            frames: list[Frame] = page.frames[1:]
            for frame in frames:
                frame.wait_for_function(SHOWN)
    assert len(frames) == 9
