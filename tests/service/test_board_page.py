"""The board's page in headless Chromium: it loads, shows, scrolls, tries a message, and outlives the gateway."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from benchmarks.scripted_server import Reply, completion, right_answer, scripted
from core.checks import check_message
from core.park import Scene
from core.ports import free_port
from core.reading import Reading
from gateway.keys import KeyScope, new_key
from tests.conftest import ROOT
from tests.support.gateway_server import running_gateway

LIT = """() => {
  const canvas = document.getElementById('board');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let lit = 0;
  for (let i = 0; i < data.length; i += 4) if (data[i] > 200) lit++;
  return lit;
}"""  # pixels of dots that are on


def show(client: httpx.Client, yesterday: int, today: int) -> str:
    answer = client.post("/generate/temperature", json={"yesterday_temp": yesterday, "today_temp": today})
    return str(answer.json()["generated_text"])


def test_the_board_shows_new_messages_without_a_reload(page: Page) -> None:
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        page.goto(str(client.base_url))
        expect(page.locator("#state")).to_have_text("모델 준비됨")
        expect(page.locator("#message")).to_have_text("표출 중인 문구가 없습니다.")
        assert page.evaluate(LIT) == 0
        expect(page.locator("#ai-mark")).to_be_hidden()
        text = show(client, 33, 36)
        expect(page.locator("#board")).to_have_attribute("aria-label", text)
        page.wait_for_function(f"() => ({LIT})() > 500")
        expect(page.locator("#ai-mark")).to_be_visible()
        expect(page.locator("#history tr")).to_have_count(1)
        expect(page.locator("#history tr td")).to_contain_text(["", "33 → 36 °C", text, "1"])
        first = page.locator("#board").screenshot()
        page.wait_for_timeout(4500)
        assert page.locator("#board").screenshot() != first, "the second sentence"


def test_a_message_is_tried_with_the_keyboard_alone(page: Page) -> None:
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        page.goto(str(client.base_url))
        page.locator("#yesterday").focus()
        page.keyboard.press("End")
        page.keyboard.press("Tab")
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        expect(page.locator("#yesterday-value")).to_have_text("45 °C")
        expect(page.locator("#today-value")).to_have_text("40 °C")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#trial-sign")).to_be_visible()
        text = page.locator("#answer").inner_text()
        park = next(park for park in client.get("/parks").json() if park["park"] == "default")  # the page names none
        assert not check_message(text, Reading(45, 40), Scene.of(park["season"], park["elements"]))
        expect(page.locator("#message")).to_have_text("표출 중인 문구가 없습니다.")
        page.locator("#show").check()
        page.locator("#write").click()
        expect(page.locator("#message")).to_contain_text("45 → 40 °C")


def test_a_scrolling_sign_scrolls(page: Page) -> None:
    with scripted(right_answer) as model, running_gateway(model.url, sign="scroll") as client:
        page.goto(str(client.base_url))
        show(client, 3, 13)
        page.wait_for_function(f"() => ({LIT})() > 100")
        turn = int(page.locator("#board").get_attribute("data-turn") or 0)
        page.wait_for_timeout(500)
        assert int(page.locator("#board").get_attribute("data-turn") or 0) > turn + 5


def test_it_says_that_the_model_is_down_and_why_no_message_came(page: Page) -> None:
    with scripted(Reply("no", 500)) as model, running_gateway(model.url) as client:
        page.goto(str(client.base_url))
        expect(page.locator("#state")).to_have_text("모델이 응답하지 않습니다")
        page.locator("#write").click()
        expect(page.locator("#answer")).to_have_text("문구를 받지 못했습니다: 모델 서버가 응답하지 않습니다")
        expect(page.locator("#trial-sign")).to_be_hidden()
        page.locator("#language").click()
        expect(page.locator("html")).to_have_attribute("lang", "en")
        expect(page.locator("#state")).to_have_text("The model does not answer")
        page.reload()
        expect(page.locator("h1")).to_have_text("Park signboard")


def test_the_page_reconnects_after_a_gateway_restart(page: Page) -> None:
    port = free_port()
    with scripted(right_answer) as model:
        with running_gateway(model.url, port=port) as client:
            page.goto(str(client.base_url))
            show(client, 3, 13)
            expect(page.locator("#message")).to_contain_text("3 → 13 °C")
        expect(page.locator("#state")).to_have_attribute("data-state", "lost", timeout=10_000)
        with running_gateway(model.url, port=port) as client:
            expect(page.locator("#state")).to_have_attribute("data-state", "ready", timeout=15_000)
            expect(page.locator("#message")).to_contain_text("3 → 13 °C")
            text = show(client, 20, 15)
            expect(page.locator("#board")).to_have_attribute("aria-label", text)


def test_a_lost_history_leaves_the_board_as_it_is(page: Page) -> None:
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        page.route("**/history", lambda route: route.abort())
        page.goto(str(client.base_url))
        with page.expect_event("requestfailed"):
            text = show(client, 3, 13)
        expect(page.locator("#board")).to_have_attribute("aria-label", text)


def test_model_output_is_never_markup(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.client.check_answer", lambda *_: [])
    with (
        scripted(Reply(completion("<img src=x onerror=document.title=1>"))) as model,
        running_gateway(model.url) as client,
    ):
        page.goto(str(client.base_url))
        show(client, 10, 20)
        expect(page.locator("#history td").nth(2)).to_have_text("<img src=x onerror=document.title=1>")
        assert page.locator("#history img").count() == 0
        expect(page).to_have_title("공원 전광판")


def test_the_ai_mark_can_be_turned_off(page: Page) -> None:
    with scripted(right_answer) as model, running_gateway(model.url, ai_mark=False) as client:
        page.goto(str(client.base_url))
        show(client, 10, 20)
        expect(page.locator("#message")).to_contain_text("10 → 20 °C")
        expect(page.locator("#ai-mark")).to_be_hidden()


WITHOUT = {
    "no localStorage": "Object.defineProperty(window, 'localStorage', { value: null });",
    "a forbidden localStorage": "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } });",
    "an old web view": "delete AbortSignal.timeout; delete window.OffscreenCanvas; delete window.matchMedia; "
    "delete window.EventSource; delete Element.prototype.replaceChildren; delete window.BroadcastChannel; "
    "Object.defineProperty(document, 'fonts', { value: undefined });",
    "no AbortController": "delete window.AbortController; delete window.AbortSignal;",
}


@pytest.mark.parametrize("script", WITHOUT.values(), ids=WITHOUT)
def test_the_board_depends_on_no_convenience_of_the_engine(page: Page, script: str) -> None:
    page.add_init_script(script)
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        page.goto(str(client.base_url))
        expect(page.locator("#state")).to_have_text("모델 준비됨")
        show(client, 33, 36)
        page.wait_for_function(f"() => ({LIT})() > 500")
        page.locator("#language").click()
        expect(page.locator("#state")).to_have_text("Model ready")


TOO_NEW = r"\?\.[a-z(\[]|\?\?|replaceChildren|OffscreenCanvas\(|\.at\(|AbortSignal\.timeout"


def test_the_page_uses_no_syntax_that_old_web_views_cannot_read() -> None:
    """docs/gateway.md names the oldest engines; what they lack is checked by name, for want of such an engine here."""
    for script in sorted((ROOT / "gateway/page").glob("*.js")):
        text = script.read_text(encoding="utf-8")
        assert not re.findall(
            r"\?\.[a-z(\[]|\?\?|replaceChildren|OffscreenCanvas\(|\.at\(|AbortSignal\.timeout", text
        ), script.name
    assert "light-dark(" not in (ROOT / "gateway/page/style.css").read_text(encoding="utf-8")


def test_any_number_of_tabs_works(page: Page) -> None:
    """A browser opens six connections to a host: a tab that held one open would keep the seventh from loading."""
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        tabs = [page, *(page.context.new_page() for _ in range(8))]
        for tab in tabs:
            tab.goto(str(client.base_url))
        for tab in tabs:
            expect(tab.locator("#state")).to_have_attribute("data-state", "ready", timeout=15_000)
        text = show(client, 33, 36)
        for tab in tabs:
            expect(tab.locator("#board")).to_have_attribute("aria-label", text, timeout=15_000)
            expect(tab.locator("#state")).to_have_attribute("data-state", "ready")


def test_a_key_in_the_pages_address_works(page: Page) -> None:
    secret, line = new_key("kiosk", [KeyScope.BOARD])
    with scripted(right_answer) as model, running_gateway(model.url, keys=line) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        page.goto(str(client.base_url).replace("http://", f"http://kiosk:{secret}@"))
        expect(page.locator("#state")).to_have_text("모델 준비됨")
        text = show(client, 33, 36)
        expect(page.locator("#board")).to_have_attribute("aria-label", text)
        expect(page.locator("#history tr")).to_have_count(1)
        page.locator("#write").click()
        expect(page.locator("#trial-sign")).to_be_visible()


@pytest.mark.parametrize("clock", ["Date", "performance"])
def test_a_stale_message_is_blanked_without_the_gateway_by_either_clock(page: Page, clock: str) -> None:
    """Six hours pass on one of the page's clocks, the other stands still; nobody answers any more."""
    page.add_init_script(
        f"const real = {clock}.now.bind({clock}); window.skipped = 0; {clock}.now = () => real() + window.skipped;"
    )
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        page.goto(str(client.base_url))
        show(client, 33, 36)
        expect(page.locator("#message")).to_contain_text("33 → 36 °C")
    expect(page.locator("#state")).to_have_attribute("data-state", "lost", timeout=10_000)
    expect(page.locator("#message")).to_contain_text("33 → 36 °C")
    page.evaluate("window.skipped = 6 * 3600 * 1000")
    expect(page.locator("#message")).to_have_text("표출 중인 문구가 없습니다.")
