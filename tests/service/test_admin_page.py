"""The administrator's page in headless Chromium: what is wrong comes first, it keeps up, blanking needs a yes."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.scripted_server import Reply, completion, right_answer, scripted
from core.ports import free_port
from gateway.keys import KeyScope, new_key
from tests.service.test_admin import JSON
from tests.service.test_board_page import show
from tests.service.test_sensors import course, settings
from tests.support.gateway_server import running_gateway

SOON = 30_000  # ms: a look comes every five seconds


@contextmanager
def lake(folder: Path, **more: Any) -> Iterator[httpx.Client]:
    """Run a gateway whose park has one sensor, which has sent both days."""
    with (
        scripted(right_answer) as model,
        running_gateway(model.url, **settings(folder, "\n    - {id: lake-post}\n", **more)) as client,
    ):
        client.post("/sensors/lake-post/readings", content=b"[" + b",".join(course(10, 16)) + b"]", headers=JSON)
        yield client


def test_all_is_well_in_both_languages(page: Page, tmp_path: Path) -> None:
    secret, line = new_key("night-shift", [KeyScope.ADMIN, KeyScope.SENSORS])
    with lake(tmp_path, keys=line) as client:  # the first request has no key: the sensor is silent
        page.goto(f"{client.base_url}/admin".replace("http://", f"http://any:{secret}@"))
        expect(page.locator("#summary")).to_have_text(re.compile("이상 .건"))
        bring = JSON | {"authorization": f"Bearer {secret}"}
        client.post("/sensors/lake-post/readings", content=b"[" + b",".join(course(10, 16)) + b"]", headers=bring)
        expect(page.locator("#summary")).to_have_text("이상 없음", timeout=SOON)
        expect(page.locator("#faults li")).to_have_count(0)
        expect(page.locator("#looked")).to_contain_text("마지막 확인")
        expect(page.locator("#boards tbody tr")).to_contain_text("10 → 16 °C")
        expect(page.locator("#probes tbody tr")).to_contain_text("lake-post")
        expect(page.locator("#parks tbody tr")).to_contain_text("호수공원")
        expect(page.locator("#keys tbody tr")).to_contain_text("night-shift")
        expect(page.locator("#versions")).to_contain_text("프롬프트")
        assert secret not in page.content()
        looked = page.locator("#looked").inner_text()
        page.wait_for_function("old => document.getElementById('looked').textContent !== old", arg=looked)
        page.locator("#language").click()
        expect(page.locator("#summary")).to_have_text("All is well")
        expect(page.locator("html")).to_have_attribute("lang", "en")
        expect(page).to_have_title("Signboard administration")
        korean = page.locator("main h2, th, main button, dt").all_inner_texts()
        assert not [text for text in korean if re.search("[가-힣]", text)]


def test_what_is_wrong_stands_first_and_goes_when_it_is_over(page: Page, tmp_path: Path) -> None:
    port = free_port()
    with lake(tmp_path, port=port) as client:
        page.goto(f"{client.base_url}/admin")
        expect(page.locator("#summary")).to_have_text("이상 없음", timeout=SOON)
        (tmp_path / "parks/pond.yaml").write_text("name: <img src=x>\nelements: [없는것]\n", encoding="utf-8")
        expect(page.locator("#faults h3").first).to_have_text("공원 파일 오류", timeout=SOON)
        fault = page.locator("#faults > li").first
        expect(fault).to_contain_text("pond.yaml")
        expect(fault).to_contain_text("다시 시작하면 켜지지 않습니다")
        expect(fault).to_contain_text("docs/admin.ko.md#parkfilewrong")
        expect(page).to_have_title("(2) 전광판 관리")
        page.locator("#language").click()
        expect(page.locator("#faults h3").first).to_have_text("A park file is wrong")
        expect(page.locator("#faults > li").first).to_contain_text("Correct the file that the error names")
        (tmp_path / "parks/pond.yaml").unlink()
        expect(page.locator("#summary")).to_have_text("All is well", timeout=SOON)
    expect(page.locator("#faults h3")).to_have_text("[urgent] The gateway does not answer", timeout=SOON)
    expect(page.locator("#looked")).to_contain_text("Below is the state of")
    with lake(tmp_path, port=port):
        expect(page.locator("#state")).to_have_attribute("data-state", "ready", timeout=SOON)
        expect(page.locator("#summary")).to_have_text("All is well", timeout=SOON)


def test_a_board_is_blanked_after_a_yes_with_the_keyboard_alone(page: Page) -> None:
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        text = show(client, 10, 20)
        page.goto(f"{client.base_url}/admin")
        row = page.locator("#boards tbody tr")
        expect(row).to_contain_text(text)
        blank = page.get_by_role("button", name="main: 끄기")
        blank.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog", name="main 끄기")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#confirm")).to_be_hidden()
        expect(blank).to_be_focused()
        page.wait_for_timeout(6000)  # a look later
        expect(blank).to_be_focused()
        assert client.get("/boards/main").json()["message"], "nobody said yes"
        page.keyboard.press("Enter")
        page.locator("#minutes").select_option("10")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#done")).to_contain_text("까지 끕니다")
        expect(row).to_contain_text("관리자가")
        assert client.get("/boards/main").json()["message"] is None
        other = page.context.new_page()
        other.goto(str(client.base_url))
        expect(other.locator("#message")).to_have_text("표출 중인 문구가 없습니다. 관리자가 껐습니다.")
        page.get_by_role("button", name="main: 끄기 해제").click()
        expect(page.locator("#done")).to_contain_text("해제했습니다")
        expect(row).to_contain_text("문구의 유효 시간이 지남")
        expect(page.get_by_role("link", name="main: 화면 열기")).to_have_attribute("href", "./?board=main")


def test_a_new_message_is_asked_for_and_a_refusal_is_told(page: Page, tmp_path: Path) -> None:
    with lake(tmp_path, message_gap=3600) as client:
        page.goto(f"{client.base_url}/admin")
        expect(page.locator("#boards tbody tr")).to_contain_text("10 → 16 °C", timeout=SOON)
        page.get_by_role("button", name="lake: 새 문구").click()
        expect(page.locator("#done")).to_have_text("lake: 새 문구를 표출합니다.")
        assert len(client.get("/boards/lake/history").json()) == 2
        answer = {"title": "표출할 기온이 없습니다", "detail": "no_current"}
        page.route("**/message", lambda route: route.fulfill(status=409, body=json.dumps(answer)))
        page.get_by_role("button", name="lake: 새 문구").click()
        expect(page.locator("#done.bad")).to_contain_text("표출할 기온이 없습니다: no_current")


def test_model_output_is_never_markup(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.client.check_answer", lambda *_: [])
    with (
        scripted(Reply(completion("<img src=x onerror=document.title=1>"))) as model,
        running_gateway(model.url) as client,
    ):
        show(client, 10, 20)
        page.goto(f"{client.base_url}/admin")
        expect(page.locator("#boards tbody tr")).to_contain_text("<img src=x")
        assert page.locator("img").count() == 0


def test_a_page_of_another_origin_blanks_nothing(page: Page) -> None:
    """Its browser sends the request: without JSON the gateway refuses it, with JSON the browser asks first, in vain."""
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        show(client, 10, 20)
        page.goto(f"{model.url}/models")  # 127.0.0.1 at another port, without a policy of ours
        for mode, kind in (("no-cors", "text/plain"), ("cors", "application/json")):
            page.evaluate(
                "([url, mode, kind]) => fetch(url, {method: 'POST', mode, headers: {'Content-Type': kind}, body: '{}'})"
                ".then(answer => answer.status, () => 'refused')",
                [f"{client.base_url}/admin/boards/main/blank", mode, kind],
            )
        assert client.get("/boards/main").json()["message"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_in_one_column(browser: Browser, tmp_path: Path, scheme: Any) -> None:
    with lake(tmp_path) as client:
        context = browser.new_context(locale="en-US", viewport={"width": 360, "height": 740}, color_scheme=scheme)
        page = context.new_page()
        page.goto(f"{client.base_url}/admin")
        expect(page.get_by_role("row", name=re.compile("lake-post"))).to_be_visible(timeout=SOON)
        expect(page.get_by_role("columnheader", name="Value")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        for button in page.locator("#boards button").all():
            box = button.bounding_box()
            assert box
            assert box["height"] >= 44, "a thumb"
        context.close()
