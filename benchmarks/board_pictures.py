"""Take the docs' pictures of the pages of a board and of the administrator, from a gateway without keys, in Chromium.

Usage: make park, then python -m benchmarks.board_pictures [--url URL] [--out FOLDER]
Out: docs/images/board-idle.png (a fresh board), board-hot.png (33 → 36 °C, as the model writes it), board-down.png (the
model is down: the browser answers the page's request for /health with 503), admin.png (boards, sensors and a sign).
"""

import shutil
from pathlib import Path
from typing import Annotated

import httpx
import typer
from playwright.sync_api import Page, expect, sync_playwright

from core.errors import ServiceError
from pipeline.cli import run_app


def main(
    url: Annotated[str, typer.Option(help="The gateway.")] = "http://127.0.0.1:8080",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("docs/images"),
) -> None:
    """Open the pages one after the other."""
    chromium = shutil.which("chromium")
    if not chromium:
        raise ServiceError("Chromium is missing.", "apt-get install chromium fonts-nanum")
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page(locale="ko-KR", timezone_id="Asia/Seoul", viewport={"width": 1000, "height": 760})
        page.goto(f"{url}/?board=nowhere")
        expect(page.locator("#state")).to_have_attribute("data-state", "ready")
        _take(page, out / "board-idle.png")
        for yesterday, today in ((24, 24), (30, 33), (33, 36)):
            body = {"yesterday_temp": yesterday, "today_temp": today, "board": "hot"}
            httpx.post(f"{url}/generate/temperature", json=body, trust_env=False, timeout=30).raise_for_status()
        page.goto(f"{url}/?board=hot")
        expect(page.locator("#message")).to_contain_text("33 → 36 °C")
        _take(page, out / "board-hot.png")
        page.route("**/health", lambda route: route.fulfill(status=503, json={}))
        page.goto(f"{url}/?board=hot")
        expect(page.locator("#state")).to_have_attribute("data-state", "down")
        _take(page, out / "board-down.png")
        page.set_viewport_size({"width": 1000, "height": 1150})
        page.goto(f"{url}/admin")
        expect(page.locator("#looked")).not_to_be_empty(timeout=30_000)
        _take(page, out / "admin.png")
        browser.close()


def _take(page: Page, path: Path) -> None:
    page.wait_for_timeout(800)
    page.screenshot(path=path)


if __name__ == "__main__":
    run_app(lambda: typer.run(main))
