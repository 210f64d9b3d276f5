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

STRIP = "(image => image.complete && image.naturalWidth > 0)(document.querySelector('section img'))"
"""True once the first strip is drawn."""

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


def _wait(condition, step=0.05):
    for _ in range(200):
        if condition():
            return
        time.sleep(step)
    raise AssertionError("nothing changed within 200 looks")


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


def test_keys_faster_than_the_disk_decide_one_scan_each(browser, address, derivative, monkeypatch):
    table, record = Decisions(derivative), Decisions.record
    monkeypatch.setattr(Decisions, "record", lambda *given: (time.sleep(0.1), record(*given)))
    page = _opened(browser, address(derivative), "Ann")
    page.keyboard.type("kdfkd")
    _wait(lambda: len(table.read()) == 5)
    page.wait_for_selector("section:nth-child(6).current")
    shown = [one.get_attribute("id") for one in page.locator("section").all()[:5]]
    assert {row.participant_id: row.decision for row in table.read()} == dict(
        zip(shown, ["keep", "drop", "flag", "keep", "drop"], strict=True)
    )


def test_a_planted_wrong_registration_is_the_first_picture_in_sight(browser, address, derivative):
    page = _opened(browser, address(derivative), "Ann")
    first = page.locator("section").first
    assert first.get_attribute("id") == "sub-05" and "correlation 0.200" in first.inner_text()
    assert first.locator(".reasons").inner_text() and "current" in first.get_attribute("class")
    _wait(lambda: page.evaluate(STRIP), step=0.005)
    top = first.locator("img").bounding_box()["y"]
    assert page.locator("header").bounding_box()["height"] <= top < page.viewport_size["height"]


def test_moving_up_hides_no_scan_under_the_keys(browser, address, derivative):
    page = _opened(browser, address(derivative), "Ann")
    for key in ["ArrowDown"] * 11 + ["ArrowUp"] * 9:
        page.keyboard.press(key)
    page.wait_for_selector("section:nth-child(3).current")
    box, header = page.locator("section.current").bounding_box(), page.locator("header").bounding_box()
    assert box["y"] >= header["height"] - 1


@pytest.mark.parametrize("rater", ['A"nn', "n/a", "x" * 61])
def test_a_name_that_no_table_can_hold_is_explained(browser, address, derivative, rater):
    page = _opened(browser, address(derivative), rater)
    page.keyboard.press("k")
    page.wait_for_selector("#message.error")
    assert "Not written: rater: " in page.locator("#message").inner_text()
    assert Decisions(derivative).read() == []


@pytest.mark.parametrize("rater", ["Zoë Müller, O'Neil", "李; |", "<b>Ann</b>"])
def test_odd_names_reach_the_table_as_they_are(browser, address, derivative, rater):
    page, table = _opened(browser, address(derivative), rater), Decisions(derivative)
    page.keyboard.press("k")
    _wait(lambda: [row.rater for row in table.read()] == [rater])


def test_two_raters_at_once_lose_nothing(browser, address, derivative):
    table, url = Decisions(derivative), address(derivative)
    pages = [_opened(browser, url, rater) for rater in ("Ann", "Bob")]
    for _ in range(12):
        for page in pages:
            page.keyboard.press("k")
    _wait(lambda: len(table.read()) == 24)
    reread = _opened(browser, url, "Cid")
    assert "100 % equal of 12" in reread.locator("#agreement").inner_text()


@pytest.mark.benchmark
def test_500_subjects_open_in_two_seconds(browser, address, tmp_path):
    url = address(write_derivative(tmp_path / "many", subjects=500))
    page, started = browser.new_page(), time.perf_counter()
    page.goto(url)
    page.wait_for_selector("main[data-ready=yes]")
    _wait(lambda: page.evaluate(STRIP), step=0.005)
    assert time.perf_counter() - started < 2 and page.locator("section").count() == 500
