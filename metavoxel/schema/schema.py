"""A schema that has been read and checked."""

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
    """One variable: its settings, and the parts that model it."""

    spec: AbstractVariableSpec
    parts: Parts


@final
@dataclass(frozen=True)
class Schema:
    """Variables by name in the order of the file, and the sections beside them. ``folder`` is where paths start."""

    variables: Mapping[str, Variable]
    cohort: CohortSettings
    backbone: AbstractBackboneSpec
    diffusion: DiffusionSettings
    training: TrainingSettings
    folder: Path

    @property
    def specs(self) -> dict[str, AbstractVariableSpec]:
        """Settings of the variables alone."""
        return {name: variable.spec for name, variable in self.variables.items()}

    def multiples(self) -> dict[str, int]:
        """What each variable's data axes must be multiples of, for the codec and the backbone together."""
        return {
            name: variable.parts.codec.grid_multiple() * self.backbone.grid_multiple()
            for name, variable in self.variables.items()
        }

    def with_specs(self, specs: Mapping[str, AbstractVariableSpec]) -> "Schema":
        """The same schema with settings that the cohort has filled in."""
        variables = {name: Variable(specs[name], variable.parts) for name, variable in self.variables.items()}
        return replace(self, variables=variables)

    def to_yaml(self, folder: Path) -> str:
        """The whole schema with every default written out; paths relative to ``folder``, where the file will be."""
        cohort = self.cohort.model_dump(mode="json", exclude_none=True)
        for source in ("table", "bids", "participants"):
            if source in cohort:
                cohort[source] = os.path.relpath(self.folder / cohort[source], folder)
        variables = {
            name: {
                **variable.spec.model_dump(mode="json", exclude_none=True),
                # A null in a part is not what the variable would choose for it, were nothing said.
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
