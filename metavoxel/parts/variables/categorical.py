"""Categorical variables: sex, site, diagnosis."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from torch import Tensor

from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.codecs.onehot import OneHotSpec
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.variables.base import AbstractVariableSpec, Missing, Parts, read_number
from metavoxel.parts.variables.text import composed, difference, lookalikes, looks_like, position

_CATEGORIES = {
    "anyOf": [
        {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 2},
        {"type": "object", "additionalProperties": {"type": ["string", "number"]}, "minProperties": 2},
    ]
}
"""JSON Schema of labels."""


def _as_codes(labels: object) -> object:
    """Normalise labels to a mapping from label to code; labels of a list are their own codes."""
    values = [*labels, *labels.values()] if isinstance(labels, dict) else labels
    for label in values if isinstance(values, list | tuple) else ():
        if isinstance(label, bool) or not isinstance(label, str | int | float | date):
            raise ValueError(f"{label!r} is no text or number; write it in quotation marks, as the table has it")
    if not isinstance(labels, list | tuple | dict):
        return labels
    texts = [composed(str(label)) for label in labels]
    if len(set(texts)) < len(texts):
        raise ValueError(f"labels must differ, got {list(labels)}")
    codes = [composed(str(code)) for code in labels.values()] if isinstance(labels, dict) else texts
    return dict(zip(texts, codes, strict=True))


def _codes_differ(labels: dict[str, str]) -> dict[str, str]:
    codes = list(labels.values())
    for index, code in enumerate(codes):
        if position(code, codes[:index]) is not None:
            raise ValueError(f"two labels have the code {code}")
    return labels


Labels = Annotated[
    dict[str, str],
    Field(min_length=2),
    BeforeValidator(_as_codes),
    AfterValidator(_codes_differ),
    WithJsonSchema(_CATEGORIES),
]
"""At least two labels, each with its code in tables."""


class CategoricalSpec(AbstractVariableSpec):
    """Settings of a variable with K unordered labels: one-hot code, discrete diffusion kernel."""

    type: Literal["categorical"] = "categorical"
    categories: Labels = Field(
        description="labels, as a list [F, M], or with their codes in the table {male: 1, female: 2}"
    )
    valid: tuple[float, float] | None = Field(
        None, description="numeric codes outside [low, high] count as missing instead of unknown"
    )

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the code's channels."""
        return tuple(self.categories)

    def label_codes(self) -> dict[str, str]:
        return dict(self.categories)

    def parts(self) -> Parts:
        return Parts(OneHotSpec(categories=len(self.categories)), UniformD3PMKernel(), TokenAdapterSpec())

    def problems(self, parts: Parts) -> list[str]:
        classes = parts.codec.classes
        if classes is None or classes == len(self.categories):
            return []
        return [f"codec {parts.codec.type!r} has {classes} categories, and the variable {len(self.categories)}"]

    def warnings(self) -> list[str]:
        """Return warnings about labels that are codes of other labels, and about visually identical texts."""
        found = []
        for label in self.categories:
            other = next((o for o, code in self.categories.items() if position(label, [code]) == 0), label)
            if other != label:
                found.append(
                    f"label {label!r} is also the code of label {other!r}: {label!r} is read as the code in a table, "
                    "but as the label in a value given outside a table. Tables written by metavoxel contain labels, "
                    "which would be misread as codes: rename the labels"
                )
        texts = list(dict.fromkeys([*self.categories, *self.categories.values()]))
        found += [
            f"{one!r} and {other!r} look the same, and differ in {difference(one, other)}"
            for one, other in lookalikes(texts)
        ]
        return found

    def parse(self, cell: str) -> Tensor | Missing:
        """Parse a cell to the index of its label: first as a code, then as a label.

        A text that is the code of one label and the name of another is thus read as the code.
        """
        return self._index(cell, list(self.categories.values()), list(self.categories))

    def parse_given(self, cell: str) -> Tensor | Missing:
        """Parse a value given outside a table: first as a label, then as a code."""
        return self._index(cell, list(self.categories), list(self.categories.values()))

    def _index(self, cell: str, *readings: Sequence[str]) -> Tensor | Missing:
        """Return the index of a text in the first list that contains it, or the reason why it is missing."""
        cell = composed(cell)
        for texts in readings:
            index = position(cell, texts)
            if index is not None:
                return torch.tensor(index)
        for text in readings[0]:
            if looks_like(cell, text):
                return Missing(f"unknown category that looks like {text!r} and differs in {difference(cell, text)}")
        if self.valid is not None:
            try:
                value = read_number(cell)
            except ValueError:
                pass
            else:
                if not self.valid[0] <= value <= self.valid[1]:
                    return Missing(f"outside valid [{self.valid[0]:g}, {self.valid[1]:g}]")
        known = ", ".join(label if label == code else f"{label} ({code})" for label, code in self.categories.items())
        return Missing(f"unknown category (known: {known})")

    def format(self, value: Tensor) -> str:
        return self.labels[int(value)]
