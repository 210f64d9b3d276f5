"""What a predictor sees of the other variables: standardised numbers, and images."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metavoxel.comparisons.study import Study
from metavoxel.rng import Rng


class Standard(NamedTuple):
    """Mean and standard deviation (1 for a constant) of each column over training rows."""

    mean: Float[Tensor, "c"]
    sd: Float[Tensor, "c"]

    def forth(self, code: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
        """Standardise."""
        return (code - self.mean) / self.sd

    def back(self, standardised: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
        """Undo it."""
        return standardised * self.sd + self.mean


def standard(code: Float[Tensor, "m c"]) -> Standard:
    """Of these training rows."""
    sd = code.std(0, correction=0)
    return Standard(code.mean(0), torch.where(sd > 1e-9, sd, 1.0))


def numbers(study: Study, names: Sequence[str]) -> Float[Tensor, "n f"]:
    """Columns of some variables for all rows of the cohort.

    Codes of scalars are standardised on the training rows; a category leaves out its first label. What is missing is 0,
    the training mean, and a variable that a training row lacks has a further column, 1 where it is missing. Of an image
    there is that column alone.
    """
    columns = [torch.zeros(len(study.cohort), 0)]
    for name in names:
        present = study.cohort.columns[name].present
        if not study.cohort.variables[name].spatial:
            code = study.values(name).code
            if study.model.codecs[name].support == "one_hot":
                code = code[:, 1:]
            columns.append(torch.where(present[:, None], standard(code[study.known("train", name)]).forth(code), 0.0))
        if not present[study.rows("train")].all():
            columns.append((~present)[:, None].float())
    return torch.cat(columns, 1)


def pictures(study: Study, name: str, rows: Int64[Tensor, "b"], vary: Rng | None = None) -> Float[Tensor, "b c *s"]:
    """Images in data space, zeros where there is none; varied as the run varies its training rows, with ``vary``."""
    column, spec = study.cohort.columns[name], study.cohort.variables[name]
    images = torch.zeros(len(rows), *spec.data_shape)
    here = column.present[rows]
    if here.any():
        found = column.read(rows[here])
        images[here] = found if vary is None else spec.augment(found, vary[here])
    return images
