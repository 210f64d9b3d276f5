"""Cells of a table from predicted codes: point estimates and their uncertainty."""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.parts.variables.base import AbstractVariableSpec, Point
from metavoxel.typing import Code

QUANTILES = MappingProxyType({"p05": 0.05, "p95": 0.95})
DRAWS_FOR_QUANTILES = 20


def category_labels(spec: AbstractVariableSpec, codec: AbstractCodec) -> list[str]:
    """Return the label of each channel of a one-hot code."""
    return [str(spec.format(value)) for value in codec.decode(torch.eye(codec.code_shape[0]))]


def labels_of(specs: Mapping[str, AbstractVariableSpec], codecs: Mapping[str, AbstractCodec]) -> dict[str, list[str]]:
    """Return the labels of every category, in the order of its code."""
    return {name: category_labels(specs[name], codec) for name, codec in codecs.items() if codec.is_label}


def mean_cells(name: str, spec: AbstractVariableSpec, codec: AbstractCodec, mean: Code) -> list[dict[str, object]]:
    """Return the cells of a posterior mean in code space, one dictionary per row.

    A number is the decoded mean of its code (under a logarithm, the geometric mean), without spread, which a mean does
    not determine. A category is the most probable label, with the probability of each.
    """
    if codec.is_label:
        return _category_cells(name, spec, codec, mean)
    values = codec.decode(mean)
    if spec.data_shape:
        return [spec.cells(name, value) for value in values]
    empty = {f"{name}_{suffix}": math.nan for suffix in ("sd", *QUANTILES)}
    return [{name: spec.format(value), **empty} for value in values]


def draw_cells(
    name: str,
    spec: AbstractVariableSpec,
    codec: AbstractCodec,
    draws: Sequence[Code],
    *,
    point: Point = "mean",
    votes: Int64[Tensor, "k b"] | None = None,
) -> list[dict[str, object]]:
    """Return the cells of draws from the posterior, one dictionary per row.

    A number has its mean or median, sd (ddof 1, from 2 draws) and quantiles (Weibull's plotting positions, from 20
    draws, below which they would be the extremes). A category has the mean class probabilities of the draws and the
    most probable label. With ``votes``, one label per draw, it has the label of most draws, the more probable one on a
    tie (MetaVoxel 4.2).
    """
    if codec.is_label:
        return _category_cells(name, spec, codec, torch.stack(list(draws)).mean(0), votes)
    values: Shaped[Tensor, "k b *d"] = torch.stack([codec.decode(code) for code in draws])
    center = spec.center(values, point)
    if spec.data_shape:
        return [spec.cells(name, value) for value in center]
    differences = spec.differences(values, center)
    cells: dict[str, Tensor | None] = {}
    for suffix, level in QUANTILES.items():
        enough = len(draws) >= DRAWS_FOR_QUANTILES
        quantiles = np.quantile(differences.numpy(force=True), level, axis=0, method="weibull") if enough else None
        cells[f"{name}_{suffix}"] = None if quantiles is None else center.cpu() + torch.from_numpy(quantiles)
    spreads = differences.std(0).tolist() if len(draws) > 1 else [math.nan] * values.shape[1]
    return [
        {name: spec.format(center[row]), f"{name}_sd": float(f"{spread:.6g}")}
        | {column: math.nan if value is None else spec.format(value[row]) for column, value in cells.items()}
        for row, spread in enumerate(spreads)
    ]


def image_values(
    spec: AbstractVariableSpec, codec: AbstractCodec, codes: Sequence[Code], *, point: Point = "mean"
) -> Iterator[Shaped[Tensor, "*d"]]:
    """Yield the point estimate of each row's draws in data space: decoded first, one row at a time, then averaged."""
    for row in range(len(codes[0])):
        yield spec.center(torch.cat([codec.decode(code[row : row + 1]) for code in codes]), point)


def _category_cells(
    name: str,
    spec: AbstractVariableSpec,
    codec: AbstractCodec,
    probabilities: Code,
    votes: Int64[Tensor, "k b"] | None = None,
) -> list[dict[str, object]]:
    labels = category_labels(spec, codec)
    probabilities = probabilities.double()
    score = probabilities
    if votes is not None:
        # Half a probability is less than one vote, so that it decides only between equal counts
        score = torch.nn.functional.one_hot(votes, len(labels)).sum(0) + probabilities / 2
    return [
        {
            name: labels[best],
            **{f"{name}_p[{label}]": round(float(p), 6) for label, p in zip(labels, row, strict=True)},
        }
        for row, best in zip(probabilities, spec.predicted_class(score).tolist(), strict=True)
    ]
