"""From codes to the cells of a table: what is predicted of a variable, and how sure that is."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.codecs.base import AbstractCodec
from metavoxel.typing import Code
from metavoxel.variables.base import AbstractVariableSpec

QUANTILES = {"p05": 0.05, "p95": 0.95}


def category_labels(spec: AbstractVariableSpec, codec: AbstractCodec) -> list[str]:
    """What a table calls each channel of a one-hot code."""
    return [str(spec.format(value)) for value in codec.decode(torch.eye(codec.code_shape[0]))]


def mean_cells(name: str, spec: AbstractVariableSpec, codec: AbstractCodec, mean: Code) -> list[dict[str, object]]:
    """Cells of a posterior mean in code space, one dictionary a row.

    A number is the decoded mean of its code (under a logarithm, the geometric mean); its spread stays empty, for one
    evaluation does not tell it. A category is the likeliest label with the probability of each.
    """
    if codec.support == "one_hot":
        return _category_cells(name, spec, codec, mean)
    values = codec.decode(mean)
    if spec.data_shape:
        return [{name: spec.format(value)} for value in values]
    empty = {f"{name}_{suffix}": "" for suffix in ("sd", *QUANTILES)}
    return [{name: spec.format(value), **empty} for value in values]


def draw_cells(
    name: str, spec: AbstractVariableSpec, codec: AbstractCodec, draws: Sequence[Code]
) -> list[dict[str, object]]:
    """Cells of draws from the posterior: mean, sd (ddof 1) and quantiles of a number; votes for a category."""
    if codec.support == "one_hot":
        return _category_cells(name, spec, codec, torch.stack(list(draws)).mean(0))
    values: Float[Tensor, "k b *d"] = torch.stack([codec.decode(code) for code in draws]).double()
    if spec.data_shape:
        return [{name: spec.format(value)} for value in values.mean(0)]
    cells: dict[str, Tensor] = {name: values.mean(0)}
    if len(draws) > 1:
        cells[f"{name}_sd"] = values.std(0)
        cells |= {f"{name}_{suffix}": values.quantile(level, 0) for suffix, level in QUANTILES.items()}
    empty = {f"{name}_{suffix}": "" for suffix in ("sd", *QUANTILES)} if len(draws) == 1 else {}
    return [
        {**{column: spec.format(value[row]) for column, value in cells.items()}, **empty}
        for row in range(values.shape[1])
    ]


def _category_cells(
    name: str, spec: AbstractVariableSpec, codec: AbstractCodec, probabilities: Code
) -> list[dict[str, object]]:
    labels = category_labels(spec, codec)
    return [
        {
            name: labels[int(row.argmax())],
            **{f"{name}_p[{label}]": round(float(p), 6) for label, p in zip(labels, row, strict=True)},
        }
        for row in probabilities.double()
    ]
