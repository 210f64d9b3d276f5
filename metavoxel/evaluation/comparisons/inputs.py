"""Inputs of predictors: standardised numbers and images of the other variables."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metavoxel.evaluation.comparisons.study import Study
from metavoxel.rng import Rng


class Standard(NamedTuple):
    """Mean and standard deviation (1 for a constant) of each column over training rows, for standardisation."""

    mean: Float[Tensor, "c"]
    sd: Float[Tensor, "c"]

    def apply(self, code: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
        """Standardise a code."""
        return (code - self.mean) / self.sd

    def invert(self, standardised: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
        """Invert the standardisation."""
        return standardised * self.sd + self.mean


def standard(code: Float[Tensor, "m c"]) -> Standard:
    """Fit the standardisation to the codes of training rows."""
    sd = code.std(0, correction=0)
    return Standard(code.mean(0), torch.where(sd > 1e-9, sd, 1.0))


def numbers(study: Study, names: Sequence[str]) -> Float[Tensor, "n f"]:
    """Build the numeric predictors of some variables for all rows of the cohort.

    Scalar codes are standardised on the training rows; categories omit the indicator of their first label. Missing
    values are 0, the training mean. A variable missing in some training row adds a missingness indicator; images have
    only this column.
    """
    columns = [torch.zeros(len(study.cohort), 0)]
    for name in names:
        present = study.cohort.columns[name].present
        if not study.cohort.variables[name].spatial:
            code = study.values(name).code
            if study.model.codecs[name].is_label:
                code = code[:, 1:]
            columns.append(torch.where(present[:, None], standard(code[study.known("train", name)]).apply(code), 0.0))
        if not present[study.rows("train")].all():
            columns.append((~present)[:, None].float())
    return torch.cat(columns, 1)


def pictures(study: Study, name: str, rows: Int64[Tensor, "b"], rng: Rng | None = None) -> Float[Tensor, "b c *s"]:
    """Return images in data space, zeros if missing; with ``rng``, augmented as in the training of the run."""
    column, spec = study.cohort.columns[name], study.cohort.variables[name]
    images = torch.zeros(len(rows), *spec.data_shape)
    present = column.present[rows]
    if present.any():
        values = column.read(rows[present])
        images[present] = values if rng is None else spec.augment(values, rng[present])
    return images
