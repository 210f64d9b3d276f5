"""Settings of a cohort of pictures and reports."""

from collections.abc import Callable, Mapping

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from metavoxel.cohort.phantoms.settings import setting_problems
from metavoxel.errors import CohortError


class ReportSettings(BaseModel):
    """Settings of pictures with reports. Cohorts that differ in ``subjects`` alone start with the same. Final."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subjects: PositiveInt = Field(200, description="number of subjects")
    seed: int = Field(0, description="random seed; a subject depends only on (seed, its number)")
    pixels: int = Field(64, ge=32, le=64, multiple_of=8, description="rows and columns of a picture")
    noise: float = Field(0.03, ge=0, le=0.5, description="sd of the noise, as a share of the range of intensities")


def report_settings(values: Mapping[str, object], where: Callable[[str], str] = str) -> ReportSettings:
    """Check the settings of pictures with reports.

    Args:
        values: settings by name.
        where: the name of a setting in the caller's words.

    Raises:
        CohortError: unknown settings or values out of range.
    """
    try:
        return ReportSettings.model_validate(values)
    except ValidationError as error:
        raise CohortError(setting_problems(error, where)) from None
