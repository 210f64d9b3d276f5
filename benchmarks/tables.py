"""Tables and pictures of benchmarks in ``docs/``."""

import platform
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import torch
from matplotlib import pyplot
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parents[1] / "docs"


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def figure(panels: int) -> tuple[Figure, Sequence[pyplot.Axes]]:
    """Return an empty figure with panels side by side."""
    found, axes = pyplot.subplots(1, panels, figsize=(5.2 * panels, 3.8), layout="constrained", squeeze=False)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    return found, axes[0]


def publish(name: str, title: str, paragraphs: Sequence[str], picture: Figure, *, docs: Path = DOCS) -> Path:
    """Write ``docs/benchmarks/<name>.md`` with its picture, and return the page's path.

    Args:
        name: of the benchmark, and of its two files.
        title: heading of the page.
        paragraphs: text and tables below it.
        picture: placed at the end.
        docs: folder of the documentation.
    """
    page, image = docs / "benchmarks" / f"{name}.md", docs / "images" / f"{name}.png"
    for path in (page, image):
        path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(image, dpi=120)
    pyplot.close(picture)
    machine = f"PyTorch {torch.__version__}, {torch.get_num_threads()} thread(s), {platform.machine()}."
    body = [f"# {title}", *paragraphs, f"![{title}](../images/{name}.png)", f"Machine: {machine}"]
    page.write_text("\n\n".join(part.strip() for part in body) + "\n", encoding="utf-8")
    return page
