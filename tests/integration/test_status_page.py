"""The status page in a real browser."""

import asyncio
import shutil
import socket
from contextlib import closing
from typing import Final

import pytest

from tests.support.status_views import HOSTILE_VIEW
from watcher.monitoring import status_page
from watcher.monitoring.health import HealthReport
from watcher.monitoring.server import Answers, serving

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.anyio
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
async def test_in_a_real_browser() -> None:
    """On a phone hostile text runs nothing, asks nobody for anything, and does not widen the page."""
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    answers = Answers(
        alive=HealthReport,
        ready=HealthReport,
        metrics=lambda: b"",
        pending=lambda _: ([], None),
        page=lambda _: status_page.render(HOSTILE_VIEW),
        request=lambda _: None,
    )
    quiet = [f"--disable-{what}" for what in ("gpu", "background-networking", "component-update", "sync")]
    asked: list[str] = []
    said: list[str] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        async with (
            asyncio.timeout(60),
            serving(answers, "unused", 0, listening=listening),
            playwright.async_playwright() as driver,
            await driver.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--no-first-run", *quiet]
            ) as browser,
        ):
            page = await browser.new_page(viewport={"width": 375, "height": 800})
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: said.append(message.text))
            await page.goto(url)
            title = await page.title()
            width = await page.evaluate("document.documentElement.scrollWidth")
            clipped = await page.evaluate(
                "[...document.querySelectorAll('article, li, dd')].filter(e => e.scrollWidth > e.clientWidth)"
                ".length"
            )
            colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ([url], []) == ([address for address in asked if not address.startswith("data:")], said)
    assert ("(2+) watcher", 375, 0) == (title, width, clipped)
    assert colour != "rgba(0, 0, 0, 0)"  # the style is in effect
