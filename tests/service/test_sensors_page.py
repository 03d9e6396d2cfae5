"""The sensors on the board's page, in headless Chromium: values, flags as a strip, two days as lines, two languages."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page, expect

from benchmarks.scripted_server import right_answer, scripted
from tests.service.test_sensors import course, payload, posting, settings
from tests.support.gateway_server import running_gateway


def test_the_page_shows_the_sensors_of_its_board(page: Page, tmp_path: Path) -> None:
    with posting(tmp_path) as client:
        bodies = b"[" + b",".join([*course(10, 16), payload(85.0, datetime.now(UTC))]) + b"]"
        address = "/sensors/lake-post/readings"
        assert client.post(address, content=bodies, headers={"content-type": "application/json"}).status_code == 200
        page.goto(f"{client.base_url}/?board=lake")
        figure = page.locator("#sensors figure").filter(has_text="lake-post")
        expect(figure.locator("figcaption")).to_contain_text("85 °C")
        expect(figure.locator("figcaption")).to_contain_text("오류")
        expect(figure.locator("rect.bad")).to_have_count(1)
        assert figure.locator("rect.good").count() >= 2
        for day in ("today", "yesterday"):
            drawn = figure.locator(f"path.{day}").get_attribute("d") or ""
            assert drawn.count("M") + drawn.count("L") == 7, "the good ones only"
        expect(page.locator("#sensors figure").filter(has_text="lake-1")).to_contain_text("수신한 자료가 없습니다")
        page.locator("#language").click()
        expect(figure.locator("figcaption")).to_contain_text("bad")


def test_the_page_says_why_there_is_no_message(page: Page, tmp_path: Path) -> None:
    with posting(tmp_path) as client:
        page.goto(f"{client.base_url}/?board=lake")
        expect(page.locator("#message")).to_have_text("표출 중인 문구가 없습니다. 현재 자료 없음.")
        content = payload(16.0, datetime.now(UTC) - timedelta(seconds=1))
        client.post("/sensors/lake-post/readings", content=content, headers={"content-type": "application/json"})
        expect(page.locator("#message")).to_have_text("표출 중인 문구가 없습니다. 어제 자료 없음.")


def test_another_boards_page_has_no_sensors(page: Page, tmp_path: Path) -> None:
    with scripted(right_answer) as model, running_gateway(model.url, **settings(tmp_path)) as client:
        page.goto(str(client.base_url))
        expect(page.locator("#state")).to_have_text("모델 준비됨")
        expect(page.locator("#sensors-section")).to_be_hidden()
