"""Settings of a phantom cohort."""

from collections.abc import Callable, Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from metavoxel.errors import CohortError, Problem


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MissingSettings(_Settings):
    """Known missingness mechanism. Final."""

    rule: Literal["mcar", "mar_by_age"] = Field(
        "mcar",
        description="'mcar': every cell is missing with probability 'fraction'; 'mar_by_age': with probability "
        "2 * fraction * (age - 20) / 70, which rises with age and has mean 'fraction' (age itself is never missing)",
    )
    fraction: float = Field(0.1, ge=0, lt=1, description="mean share of the cells of each column that are missing")
    columns: tuple[Literal["age", "sex", "diagnosis", "site", "T1w", "T2w"], ...] = Field(
        ("sex", "T1w"), description="columns, or images by suffix, in which cells are missing"
    )

    @model_validator(mode="after")
    def _rule_is_possible(self) -> Self:
        if self.rule == "mar_by_age" and "age" in self.columns:
            raise ValueError("rule 'mar_by_age' needs age observed: take 'age' out of 'columns', or use rule 'mcar'")
        if self.rule == "mar_by_age" and self.fraction > 0.5:
            raise ValueError(
                "rule 'mar_by_age' takes a fraction of at most 0.5: the probability at 90 is twice as high"
            )
        return self


class PhantomSettings(_Settings):
    """Settings of a phantom cohort. Cohorts that differ only in ``subjects`` start with the same subjects. Final."""

    subjects: PositiveInt = Field(200, description="number of subjects")
    seed: int = Field(0, description="random seed; a subject depends only on (seed, its number)")
    spacing: float = Field(4.0, ge=1, le=10, description="size of the cubic voxels in mm")
    noise: float = Field(0.03, ge=0, le=0.5, description="sd of the noise, as a share of white matter's intensity")
    disease: bool = Field(
        False,
        description="add a diagnosis (control, patient) whose prevalence rises with age, with atrophy of both medial "
        "temporal lobes",
    )
    second_contrast: bool = Field(False, description="add a T2w-like image of the same anatomy")
    site: bool = Field(
        False, description="add a site (A or B, equally probable); B has flatter contrast and more noise"
    )
    missing: MissingSettings | None = Field(None, description="which cells are missing; none by default")

    @model_validator(mode="after")
    def _missing_columns_exist(self) -> Self:
        switches = {"T2w": "second_contrast", "diagnosis": "disease", "site": "site"}
        for column, switch in switches.items():
            if self.missing and column in self.missing.columns and not getattr(self, switch):
                raise ValueError(f"'missing' names {column}, but there is none: set '{switch}'")
        return self

    @property
    def contrasts(self) -> tuple[Literal["T1w", "T2w"], ...]:
        """BIDS suffixes of the images of a subject."""
        return ("T1w", "T2w") if self.second_contrast else ("T1w",)


def phantom_settings(values: Mapping[str, object], where: Callable[[str], str] = str) -> PhantomSettings:
    """Check the settings of a phantom cohort.

    Args:
        values: settings by name.
        where: the name of a setting, as ``missing.rule``, in the caller's words.

    Raises:
        CohortError: unknown settings or values out of range.
    """
    try:
        return PhantomSettings.model_validate(values)
    except ValidationError as error:
        raise CohortError(setting_problems(error, where)) from None


def setting_problems(error: ValidationError, where: Callable[[str], str]) -> list[Problem]:
    """Return the problems of invalid settings; ``where`` is as for :func:`phantom_settings`."""
    problems = []
    for detail in error.errors():
        place = ".".join(step for step in detail["loc"] if isinstance(step, str))
        what = detail["msg"].removeprefix("Value error, ")
        shown = "" if detail["type"] == "value_error" else f" (given: {detail['input']!r})"
        problems.append(Problem(where(place), what + shown))
    return problems
