"""Tensor types of shared interfaces: ``b`` batch, ``c`` code channels, ``*s`` code grid (empty for scalars)."""

from typing import TypeAlias

from jaxtyping import Bool, Float, Int64
from torch import Tensor

Code: TypeAlias = Float[Tensor, "b c *s"] | Int64[Tensor, "b 1 *s"]
"""A variable in code space; a category is one-hot along dimension 1, or held as the index of its class."""

Target: TypeAlias = Float[Tensor, "b p *s"] | Int64[Tensor, "b 1 *s"]
"""What a network is trained to predict: numbers, or the class index of each cell."""

Time: TypeAlias = Float[Tensor, "b"] | Float[Tensor, "b 1 *s"]
"""Diffusion time, 0 at the data and 1 at the prior: one per row, or one per cell of the code grid."""

Mask: TypeAlias = Bool[Tensor, "b 1 *s"]
"""One boolean per cell of the code grid."""

AnyCode: TypeAlias = Float[Tensor, "_ _ ..."] | Int64[Tensor, "_ 1 ..."]
"""The code of one of several variables; axes are unnamed because named ones would have to agree between variables."""

AnyTime: TypeAlias = Float[Tensor, "_ ..."]
"""The time of one of several variables."""

AnyMask: TypeAlias = Bool[Tensor, "_ 1 ..."]
"""The mask of one of several variables."""
