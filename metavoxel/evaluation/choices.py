"""Names of comparison methods and of sizes; apart from the methods, so that a help page needs no PyTorch."""

from typing import Literal

MethodName = Literal["linear", "densenet", "vit", "braid", "ldm", "continuous_sex"]
Size = Literal["small", "medium", "full"]
