"""One-hot codes held as class indices: (b, 1, *s) in int64 instead of (b, c, *s), with -1 for no class.

A cell costs one number instead of one for each class. Class probabilities are made from indices only where they meet
an estimate of x_0, and drawn by inversion: the class of a uniform number U is the first k with p_1 + ... + p_k > U.
"""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from metavoxel.typing import Code, Mask

NO_CLASS = -1


def is_indices(x: Tensor) -> bool:
    """Return whether a code is held as indices."""
    return not x.is_floating_point()


def one_hot(index: Int64[Tensor, "b *s"], categories: int) -> Float[Tensor, "b c *s"]:
    """Encode indices (b, *s) as one-hot codes (b, categories, *s) in float32; -1 is the zero vector."""
    found = torch.zeros(len(index), categories, *index.shape[1:], device=index.device)
    return found.scatter_(1, index[:, None].clamp_min(0), (index[:, None] >= 0).to(found))


def classes_of(z: Code) -> Int64[Tensor, "b *s"]:
    """Return the class of each cell of any code: the most probable one, and 0 for no class."""
    return z[:, 0].clamp_min(0) if is_indices(z) else z.argmax(1)


def probability_of(probabilities: Float[Tensor, "b c *s"], code: Code) -> Float[Tensor, "b 1 *s"]:
    """Return the probability of each cell's class."""
    if is_indices(code):
        return probabilities.gather(1, code)
    return (probabilities * code).sum(1, keepdim=True)


def drawn_classes(
    probabilities: Float[Tensor, "b c *s"], uniform: Float64[Tensor, "b 1 *s"]
) -> Int64[Tensor, "b 1 *s"]:
    """Draw the class of each cell by inversion, with one uniform number a cell; sums need not be 1."""
    cumulative = probabilities.movedim(1, -1).double().cumsum(-1)
    place = uniform.movedim(1, -1) * cumulative[..., -1:]
    index = torch.searchsorted(cumulative, place, right=True).clamp_max(probabilities.shape[1] - 1)
    return index.movedim(-1, 1)


def drawn_where(
    chosen: Mask,
    probabilities: Float[Tensor, "b c *s"],
    uniform: Float64[Tensor, "b 1 *s"],
    other: Int64[Tensor, "b 1 *s"],
) -> Int64[Tensor, "b 1 *s"]:
    """Draw the class of the chosen cells, at the cost of these alone; the others are those of ``other``."""
    cells = probabilities.movedim(1, -1)[chosen[:, 0]]
    return other.masked_scatter(chosen, drawn_classes(cells, uniform[chosen][:, None]))
