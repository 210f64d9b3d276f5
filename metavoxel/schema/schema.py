"""A parsed and checked schema."""

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, final

import yaml

from metavoxel.parts.backbones.base import AbstractBackboneSpec
from metavoxel.parts.variables.base import AbstractVariableSpec, Parts
from metavoxel.schema.settings import CohortSettings, DiffusionSettings, TrainingSettings


class Variable(NamedTuple):
    """One variable: its settings and its parts (codec, kernel and adapter)."""

    spec: AbstractVariableSpec
    parts: Parts


@final
@dataclass(frozen=True, repr=False)
class Schema:
    """Variables by name in file order, and the other sections. Relative paths start at ``folder``."""

    variables: Mapping[str, Variable]
    cohort: CohortSettings
    backbone: AbstractBackboneSpec
    diffusion: DiffusionSettings
    training: TrainingSettings
    folder: Path

    def __repr__(self) -> str:
        variables = ", ".join(f"{name}: {variable.spec.type}" for name, variable in self.variables.items())
        return f"Schema({variables}; cohort {self.cohort.table or self.cohort.bids}; backbone {self.backbone.type})"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.to_yaml(self.folder))}</pre>"

    @property
    def specs(self) -> dict[str, AbstractVariableSpec]:
        """Settings of the variables, without their parts."""
        return {name: variable.spec for name, variable in self.variables.items()}

    def multiples(self) -> dict[str, int]:
        """Compute the divisor of each variable's data axes that codec and backbone require together."""
        return {
            name: variable.parts.codec.grid_multiple() * self.backbone.grid_multiple()
            for name, variable in self.variables.items()
        }

    def with_specs(self, specs: Mapping[str, AbstractVariableSpec]) -> "Schema":
        """Replace the variables' settings, e.g. by those completed from the cohort."""
        variables = {name: Variable(specs[name], variable.parts) for name, variable in self.variables.items()}
        return replace(self, variables=variables)

    def to_yaml(self, folder: Path) -> str:
        """Serialise the schema with all defaults; paths are relative to ``folder``, where the file will be."""
        cohort = self.cohort.model_dump(mode="json", exclude_none=True)
        for source in ("table", "bids", "participants", "qa"):
            if source in cohort:
                cohort[source] = os.path.relpath(self.folder / cohort[source], folder)
        variables = {
            name: {
                **variable.spec.model_dump(mode="json", exclude_none=True),
                # Keep nulls in parts: an omitted setting would take the variable's choice instead.
                **{part: settings.model_dump(mode="json") for part, settings in variable.parts._asdict().items()},
            }
            for name, variable in self.variables.items()
        }  # fmt: skip
        sections = {
            "cohort": cohort,
            "variables": variables,
            "backbone": self.backbone.model_dump(mode="json", exclude_none=True),
            "diffusion": self.diffusion.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json", exclude_none=True),
        }
        return yaml.safe_dump(sections, sort_keys=False, allow_unicode=True)
