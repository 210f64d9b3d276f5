"""Labels without order: sex, site, diagnosis."""

from datetime import date
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from torch import Tensor

from metavoxel.adapters.token import TokenAdapterSpec
from metavoxel.codecs.onehot import OneHotSpec
from metavoxel.kernels.d3pm import UniformD3PMKernel
from metavoxel.variables.base import AbstractVariableSpec, Blank, Parts, read_number

_CATEGORIES = {
    "anyOf": [
        {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 2},
        {"type": "object", "additionalProperties": {"type": ["string", "number"]}, "minProperties": 2},
    ]
}
"""What labels may look like in a schema file."""


def _same(cell: str, code: str) -> bool:
    """Codes match as numbers where both are: 1 and 1.0 are one code."""
    if cell == code:
        return True
    try:
        return read_number(cell) == read_number(code)
    except ValueError:
        return False


def _as_codes(labels: object) -> object:
    """Labels with the table's codes; of a list, each is its own."""
    every = [*labels, *labels.values()] if isinstance(labels, dict) else labels
    for label in every if isinstance(every, list | tuple) else ():
        if isinstance(label, bool) or not isinstance(label, str | int | float | date):
            raise ValueError(f"{label!r} is no text or number; write it in quotation marks, as the table has it")
    if isinstance(labels, list | tuple):
        if len(set(map(str, labels))) < len(labels):
            raise ValueError(f"labels must differ, got {list(labels)}")
        return {str(label): str(label) for label in labels}
    if isinstance(labels, dict):
        return {str(label): str(code) for label, code in labels.items()}
    return labels


def _codes_differ(labels: dict[str, str]) -> dict[str, str]:
    codes = list(labels.values())
    for index, code in enumerate(codes):
        if any(_same(code, other) for other in codes[:index]):
            raise ValueError(f"two labels have the code {code}")
    return labels


Labels = Annotated[
    dict[str, str],
    Field(min_length=2),
    BeforeValidator(_as_codes),
    AfterValidator(_codes_differ),
    WithJsonSchema(_CATEGORIES),
]
"""At least two labels, each with the table's code."""


class CategoricalSpec(AbstractVariableSpec):
    """One of K labels. Its code is one-hot, its kernel discrete diffusion."""

    type: Literal["categorical"] = "categorical"
    categories: Labels = Field(description="labels, as a list [F, M], or with the table's codes {male: 1, female: 2}")
    valid: tuple[float, float] | None = Field(
        None, description="numeric codes outside [low, high] count as missing, without being unknown"
    )

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the code's channels."""
        return tuple(self.categories)

    def known_labels(self) -> dict[str, str]:
        return dict(self.categories)

    def parts(self) -> Parts:
        return Parts(OneHotSpec(categories=len(self.categories)), UniformD3PMKernel(), TokenAdapterSpec())

    def problems(self, parts: Parts) -> list[str]:
        if isinstance(parts.codec, OneHotSpec) and parts.codec.categories != len(self.categories):
            return [f"codec 'onehot' has {parts.codec.categories} categories, and the variable {len(self.categories)}"]
        return []

    def parse(self, cell: str) -> Tensor | Blank:
        """A code of the table, or a label itself, to the label's index."""
        for index, (label, code) in enumerate(self.categories.items()):
            if cell == label or _same(cell, code):
                return torch.tensor(index)
        if self.valid is not None:
            try:
                value = read_number(cell)
            except ValueError:
                pass
            else:
                if not self.valid[0] <= value <= self.valid[1]:
                    return Blank(f"outside valid [{self.valid[0]:g}, {self.valid[1]:g}]")
        known = ", ".join(label if label == code else f"{label} ({code})" for label, code in self.categories.items())
        return Blank(f"unknown category (known: {known})")

    def format(self, value: Tensor) -> str:
        return self.labels[int(value)]
