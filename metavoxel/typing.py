"""Shapes that cross a seam: ``b`` batch, ``c`` code channels, ``*s`` code grid (empty for scalars)."""

from typing import TypeAlias

from jaxtyping import Bool, Float
from torch import Tensor

Code: TypeAlias = Float[Tensor, "b c *s"]
"""A variable in its model's space; a category is one-hot on dimension 1."""

Time: TypeAlias = Float[Tensor, "b"] | Float[Tensor, "b 1 *s"]
"""0 is data and 1 is the prior; one time a row, or one for every cell of the code grid."""

Mask: TypeAlias = Bool[Tensor, "b 1 *s"]
"""One truth value for every cell of the code grid."""
