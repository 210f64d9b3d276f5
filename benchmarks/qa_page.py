"""The page for quality control in a browser: seconds until 500 subjects can be rated, and from a key to the table.

    pip install playwright            # and Chromium, for example from the system's packages
    python -m benchmarks.qa_page --subjects 500 --rounds 5

A few phantoms (3 mm, no skull) are turned by up to 20 degrees and prepared. Their files are written again under the
names of all subjects, by the writer of ``metavoxel prepare``; the registration of one subject is turned by 35 degrees.
The server is the command ``metavoxel qa``. A page can be rated once all scans are listed and the first strip is drawn;
the time counts from the request. A key is timed until the table, read from outside, has the decision.
"""

import argparse
import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from scipy.spatial.transform import Rotation

from benchmarks.preparation import moved, phantoms
from metavoxel.images.image import Image
from metavoxel.preparation.dataset import describe_derivative, write_quality
from metavoxel.preparation.extractors import NoExtraction
from metavoxel.preparation.head import Prepared, load_registration_template, prepare_head, resampled
from metavoxel.preparation.outputs import Outputs
from metavoxel.preparation.qa.decisions import TABLE
from metavoxel.preparation.quality import similarity
from metavoxel.preparation.rigid import Rigid
from metavoxel.preparation.settings import PrepareSettings
from metavoxel.preparation.sources import Scan
from metavoxel.preparation.strips import strip_path, strips
from metavoxel.storage.atomic import write_text

SETTINGS = PrepareSettings(extractor="none", spacing=4.0)
WRONG = 35.0
"""Rotation of the planted wrong registration, degrees."""
POSE = 20.0
SIZE = {"width": 1200, "height": 690}
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")


def turned(image: Image, angle: float, axis: Sequence[float]) -> Rigid:
    """Rotate about the centre of an image."""
    centre = image.grid.affine[:3, :3] @ ((np.array(image.grid.shape) - 1) / 2) + image.grid.affine[:3, 3]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(angle) * np.asarray(axis) / np.linalg.norm(axis)).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    return Rigid(matrix)


def prepared_heads(count: int, folder: Path) -> Iterator[tuple[Image, Prepared]]:
    """Prepare phantoms in native poses."""
    draw, template = np.random.default_rng(0), load_registration_template()
    for _, image in phantoms(count, folder):
        native = moved(image, turned(image, float(draw.uniform(0, POSE)), draw.normal(size=3)), resample=True)
        yield native, prepare_head(native, NoExtraction(), template, spacing=SETTINGS.spacing)


def wrongly_registered(native: Image, head: Prepared) -> Prepared:
    """Turn the registration of a prepared head, with the figures that it then has."""
    template = load_registration_template()
    rigid = head.rigid.after(turned(head.image, WRONG, (1, 0.3, 0.6)))
    image, mask = resampled(native, head.native_mask.data > 0.5, rigid, SETTINGS.spacing)
    correlation, symmetry = similarity(image, mask.data > 0.5, template.image, template.brain)
    figures = head.quality._replace(correlation=correlation, symmetry=symmetry, angle=head.quality.angle + WRONG)
    return head._replace(image=image, mask=mask, rigid=rigid, quality=figures)


def write_derivative(folder: Path, subjects: int, heads: Sequence[tuple[Image, Prepared]]) -> str:
    """Write prepared heads under the names of all subjects; return the one whose registration is wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "figures").mkdir(parents=True)
    describe_derivative(folder.parent / "phantoms", folder, SETTINGS)
    bad = subjects * 2 // 3
    pictures = [dict(strips(native, head)) for native, head in heads]
    for number in range(subjects):
        which = number % len(heads)
        native, head = heads[which]
        drawn: dict[str, PIL.Image.Image] = pictures[which]
        if number == bad:
            head = wrongly_registered(native, head)
            drawn = dict(strips(native, head))
        scan = Scan(_name(number), "", Path(f"{_name(number)}_T1w.nii.gz"))
        for step, picture in drawn.items():
            picture.save(strip_path(folder, scan.name, step))
        record = {"Key": str(number), "Settings": SETTINGS.model_dump(mode="json"), "Versions": {}}
        Outputs(folder, scan).write(head, scan.path.name, record)
    lines = ["participant_id", *(_name(number) for number in range(subjects))]
    write_text(folder / "participants.tsv", "\n".join(lines) + "\n")
    write_quality(folder)
    return _name(bad)


def _name(number: int) -> str:
    return f"sub-{number + 1:03}"


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, float]]:
    """Run ``metavoxel qa`` in a process of its own; yield its address and the seconds until it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start = time.perf_counter()
    server = subprocess.Popen([sys.executable, "-m", "metavoxel", "qa", str(folder), "--port", str(port)])
    try:
        while not _answers(port):
            if server.poll() is not None or time.perf_counter() - start > 120:
                sys.exit("the server did not start")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}/", time.perf_counter() - start
    finally:
        server.terminate()
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def opened(browser: Any, address: str) -> tuple[Any, float]:
    """Open the page without anything kept from before; return it and the seconds until it can be used."""
    page = browser.new_context(viewport=SIZE).new_page()
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("main[data-ready=yes]")
    page.evaluate("document.querySelector('section img').decode()")
    return page, time.perf_counter() - start


def key_seconds(page: Any, table: Path, presses: int) -> Iterator[float]:
    """Keep the first scans by key; yield the seconds from each key until the table has the decision."""
    page.fill("#rater", "Ann")
    page.press("#rater", "Enter")
    for number in range(1, presses + 1):
        start = time.perf_counter()
        page.keyboard.press("k")
        _wait(lambda: table.exists() and table.read_bytes().count(b"\tkeep\t") == number)  # noqa: B023
        yield time.perf_counter() - start
        page.wait_for_selector(f"section:nth-child({number + 1}).current")


def _wait(condition: Callable[[], bool]) -> None:
    end = time.perf_counter() + 30
    while not condition():
        if time.perf_counter() > end:
            sys.exit("the decision did not reach the table")
        time.sleep(0.001)


def picture(page: Any, path: Path) -> None:
    """Save the page as a rater sees it after two decisions."""
    page.fill("#rater", "Ann")
    page.press("#rater", "Enter")
    page.keyboard.press("d")
    page.keyboard.press("k")
    page.wait_for_selector("section:nth-child(3).current")
    page.wait_for_function("[...document.images].slice(0, 4).every(image => image.complete)")
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=str(path))
    # Six bits per colour: a smaller file, without a visible difference.
    PIL.Image.open(path).convert("RGB").point(lambda value: value & 0xFC).save(path, optimize=True)


def main() -> None:
    """Write the derivative, serve and open it, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=500)
    parser.add_argument("--heads", type=int, default=6, help="phantoms that are prepared")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--presses", type=int, default=20)
    parser.add_argument("--picture", type=Path, help="save the page as a PNG file")
    parser.add_argument("--folder", type=Path, default=Path("runs/qa_page"))
    chosen = parser.parse_args()
    from playwright.sync_api import sync_playwright

    heads = list(prepared_heads(chosen.heads, chosen.folder / "phantoms"))
    derivative = chosen.folder / "prepared"
    bad = write_derivative(derivative, chosen.subjects, heads)
    with served(derivative) as (address, start), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        rounds = [opened(browser, address) for _ in range(chosen.rounds)]
        page, seconds = rounds[-1][0], [taken for _, taken in rounds]
        first = page.locator("section").first.get_attribute("id")
        print(f"{chosen.subjects} subjects: first is {first}, planted {bad}; the server starts in {start:.1f} s")
        print(f"until usable: {_summary(seconds)}")
        if chosen.picture:
            picture(page, chosen.picture)
        else:
            print(f"from key to table: {_summary(list(key_seconds(page, derivative / TABLE, chosen.presses)))}")
        browser.close()


def _summary(seconds: Sequence[float]) -> str:
    return f"median {np.median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f}), {len(seconds)} times"


if __name__ == "__main__":
    main()
