"""The signs on the board's page, in headless Chromium: confirmed, failing, in both languages; none where none is."""

from pathlib import Path

from playwright.sync_api import Page, expect

from benchmarks.scripted_server import GOOD, saying, scripted
from signs.simulator import Lie
from tests.service.test_signs import TEN_TWENTY, settings
from tests.support.gateway_server import running_gateway
from tests.support.sign import simulated_sign


def test_the_page_says_what_each_sign_of_its_board_confirmed(page: Page, tmp_path: Path) -> None:
    with (
        simulated_sign() as sign,
        scripted(saying(GOOD)) as model,
        running_gateway(model.url, **settings(tmp_path, sign.tcp.url, ", refresh_seconds: 1")) as client,
    ):
        page.goto(f"{client.base_url}/?board=lake")
        told = page.locator("#signs li").filter(has_text="gate")
        expect(told).to_contain_text("꺼짐 확인")
        client.post("/generate/temperature", json=TEN_TWENTY)
        expect(told).to_contain_text("표출 확인", timeout=15_000)
        sign.controller.odds = {Lie.SILENT: 1}
        expect(told).to_contain_text("did not answer", timeout=15_000)
        expect(told.locator(".bad")).to_have_count(1)
        page.locator("#language").click()
        expect(told).to_contain_text("does not confirm")
        expect(page.locator("#signs-title")).to_have_text("Signs")
        page.goto(f"{client.base_url}/?board=other")
        expect(page.locator("#state")).to_have_text("Model ready")
        expect(page.locator("#signs-section")).to_be_hidden()
