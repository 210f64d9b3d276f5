"""Figures on disk, as PNG and SVG, and PNGs as data URIs."""

import base64
import io
from pathlib import Path

import matplotlib
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

DPI = 130


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name.png`` and ``name.svg``; the same figure gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{name}.png", dpi=DPI)


def embedded(path: Path) -> str:
    """Encode a PNG as a data URI."""
    return _data_uri(path.read_bytes())


def embedded_plane(plane: Float[Tensor, "h w"]) -> str:
    """Encode a grey image, with intensities from 0 to 1, as the data URI of a PNG."""
    written = io.BytesIO()
    Image.fromarray((plane.clamp(0, 1) * 255).round().byte().numpy()).save(written, "PNG")
    return _data_uri(written.getvalue())


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
