"""What the service tests share: headless Chromium and a PostgreSQL server."""

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.postgres import Postgres, postgres


def chromium() -> str:
    """Return the path of Debian's Chromium; `make test` installs it."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "Chromium is missing: apt-get install chromium"
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium())
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A Korean visitor's page; anything asked from elsewhere or thrown by a script fails the test."""
    context = browser.new_context(locale="ko-KR", timezone_id="Asia/Seoul", viewport={"width": 1000, "height": 1000})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    ours = re.compile(r"https?://([^/@]*@)?127\.0\.0\.1:")
    opened.on("request", lambda request: None if ours.match(request.url) else faults.append(request.url))
    yield opened
    context.close()
    assert not faults


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A real PostgreSQL without databases."""
    with postgres() as running:
        yield running
