"""The page in a real browser, driven by the keyboard."""

import shutil
import socket
import threading
import time

import pytest
from rated_derivatives import write_derivative

from metavoxel.preparation.qa.decisions import Decisions
from metavoxel.preparation.qa.server import make_app

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
uvicorn = pytest.importorskip("uvicorn", reason="needs metavoxel[serve]")
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]


@pytest.fixture
def address():
    """Serve derivatives on free ports of this machine; stops them afterwards."""
    servers = []

    def start(derivative):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(make_app(derivative), port=port, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{port}/"

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join()


@pytest.fixture
def browser():
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


def _opened(browser, url, rater):
    page = browser.new_context().new_page()
    page.goto(url)
    page.wait_for_selector("main[data-ready=yes]")
    page.fill("#rater", rater)
    page.press("#rater", "Tab")
    return page


def _wait(condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("the table did not change")


def test_keys_reach_the_table(browser, address, derivative):
    table = Decisions(derivative)
    page = _opened(browser, address(derivative), "Ann")
    assert page.locator("section").first.get_attribute("id") == "sub-05"
    for number, key in enumerate(("d", "k", "f"), start=1):
        page.keyboard.press(key)
        _wait(lambda: len(table.read()) == number)  # noqa: B023
    page.on("dialog", lambda dialog: dialog.accept("look again"))
    page.keyboard.press("n")
    _wait(lambda: any(row.note == "look again" for row in table.read()))
    assert table.read()[[row.participant_id for row in table.read()].index("sub-05")].decision == "drop"
    page.keyboard.press("u")
    _wait(lambda: len(table.read()) == 3)
    page.keyboard.press("Space")
    page.wait_for_selector("section.current details[open] img", timeout=5000)


def test_two_raters_at_once_lose_nothing(browser, address, derivative):
    table, url = Decisions(derivative), address(derivative)
    pages = [_opened(browser, url, rater) for rater in ("Ann", "Bob")]
    for number in range(1, 13):
        for page in pages:
            page.keyboard.press("k")
        _wait(lambda: len(table.read()) == 2 * number)  # noqa: B023
    reread = _opened(browser, url, "Cid")
    assert "100 % equal of 12" in reread.locator("#agreement").inner_text()


@pytest.mark.benchmark
def test_500_subjects_open_in_two_seconds(browser, address, tmp_path):
    url = address(write_derivative(tmp_path / "many", subjects=500))
    page, started = browser.new_page(), time.perf_counter()
    page.goto(url)
    page.wait_for_selector("main[data-ready=yes]")
    assert time.perf_counter() - started < 2 and page.locator("section").count() == 500
