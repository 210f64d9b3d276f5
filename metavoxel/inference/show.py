"""Models as text and HTML, for an interactive session."""

import html

from metavoxel.network.joint import JointModel
from metavoxel.schema.schema import Schema


def model_text(schema: Schema, joint: JointModel) -> str:
    """One line: the distribution that a model represents, its backbone and its size."""
    names = ", ".join(schema.variables)
    weights = sum(weight.numel() for weight in joint.parameters())
    return (
        f"Model of p({names}) and all its conditionals: backbone {schema.backbone.type!r}, {weights:,} weights, "
        f"times {schema.diffusion.times!r}, on {joint.device}"
    )


def model_html(schema: Schema, joint: JointModel) -> str:
    """The same, and a table of the variables, their parts and network weights."""
    rows = [
        (name, spec.type, parts.codec.type, parts.kernel.type, f"{joint.network_weight(name):.2g}")
        for name, (spec, parts) in schema.variables.items()
    ]
    header = ("variable", "type", "codec", "kernel", "network weight")
    table = _row("th", header) + "".join(_row("td", row) for row in rows)
    return f"<p>{html.escape(model_text(schema, joint))}</p><table>{table}</table>"


def _row(tag: str, cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
