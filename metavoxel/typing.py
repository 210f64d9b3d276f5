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

AnyCode: TypeAlias = Float[Tensor, "_ _ ..."]
"""A code among those of several variables, whose shapes differ: names would tie one's axes to the other's."""

AnyTime: TypeAlias = Float[Tensor, "_ ..."]
"""A time among those of several variables."""

AnyMask: TypeAlias = Bool[Tensor, "_ 1 ..."]
"""A mask among those of several variables."""
