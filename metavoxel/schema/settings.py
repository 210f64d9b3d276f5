"""Settings of the cohort, diffusion and training sections of a schema."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from metavoxel.parts.variables.text import composed

_TOKENS = {"type": "array", "items": {"type": ["string", "number"]}}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SplitSettings(_Section):
    """Split of the subjects; all rows of a subject are in one part."""

    train: float = Field(0.8, gt=0, lt=1, description="fraction of subjects to train on")
    validation: float = Field(0.1, gt=0, lt=1, description="fraction of subjects to select the best step on")
    test: float = Field(0.1, ge=0, lt=1, description="fraction of subjects held out from training")
    seed: int = Field(0, description="seed of the random split")
    stratify: list[str] = Field([], description="variables whose distribution is balanced between the parts")
    column: str | None = Field(
        None,
        description="column of the table with 'train', 'validation' or 'test' in every row, instead of a random split",
    )

    @field_validator("column")
    @classmethod
    def _composed_column(cls, column: str | None) -> str | None:
        return None if column is None else composed(column)

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + validation + test must be 1, not {total:g}")
        return self


class CohortSettings(_Section):
    """Source of the subjects: exactly one of ``table`` and ``bids``."""

    table: Path | None = Field(None, description="CSV or TSV file, one row per scan; relative to the schema's folder")
    bids: Path | None = Field(None, description="BIDS folder, raw or a derivative; relative to the schema's folder")
    derivatives: Path | None = Field(
        None,
        description="images of a derivative of 'bids' instead of its raw ones: name of a folder in its 'derivatives', "
        "or path from there",
    )
    participants: Path | None = Field(
        None,
        description="table of the subjects of 'bids', relative to the schema's folder; by default the folder's "
        "participants.tsv, or that of the dataset whose 'derivatives' the folder is in",
    )
    qa: Path | None = Field(
        None,
        description="decisions of 'metavoxel qa' (qa.tsv of a derivative), relative to the schema's folder: scans that "
        "raters dropped are left out",
    )
    subject: str = Field("participant_id", description="column of subject identifiers")
    missing: Annotated[list[str], WithJsonSchema(_TOKENS)] = Field(
        ["", "n/a", "NA", "NaN", "nan", "<NA>", "NaT"],
        description="cells with these texts are missing, as are empty ones; numbers match by value, so that -999 also "
        "matches -999.0",
    )
    split: SplitSettings = Field(default_factory=SplitSettings, description="train, validation and test subjects")

    @field_validator("missing", mode="before")
    @classmethod
    def _codes_as_text(cls, missing: object) -> object:
        """Codes such as -999 may be written as numbers."""
        if isinstance(missing, list):
            return [str(token) if type(token) in (int, float) else token for token in missing]
        return missing

    @field_validator("subject")
    @classmethod
    def _composed_subject(cls, subject: str) -> str:
        return composed(subject)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.table is None) == (self.bids is None):
            raise ValueError("give exactly one of 'table' (a CSV or TSV file) and 'bids' (a folder)")
        if self.derivatives is not None and self.bids is None:
            raise ValueError(
                "'derivatives' names a derivative of 'bids': give both, or the derivative itself as 'bids'"
            )
        if self.participants is not None and self.bids is None:
            raise ValueError(
                "'participants' is the table of a BIDS folder's subjects: give it with 'bids', or give 'table'"
            )
        return self


class DiffusionSettings(_Section):
    """Sampling of training times, and known factors of the joint density."""

    @property
    def shared_time(self) -> bool:
        """Whether all variables have one time, as in the paper: no variable is then given clean beside noisy ones."""
        return self.times == "shared"

    times: Literal["evidence", "shared"] = Field(
        "evidence",
        description="'evidence': every variable has its own time, often 0 (clean) or 1 (absent), so that any subset "
        "can be given; 'shared': one time for all variables, as in the paper (rows with missing cells are dropped)",
    )
    factors: list[list[str]] = Field(
        [],
        description="groups of variables, if the joint density is known to be a product of one factor per group (a "
        "Markov random field). In the network, variables that share no group interact only through others. The "
        "Gaussian baseline adopts these conditional independences where they are likelier. By default all variables "
        "may depend on each other directly",
    )


class TrainingSettings(_Section):
    """Training of the joint model."""

    steps: PositiveInt | None = Field(None, description="optimiser steps; by default chosen from the backbone")
    batch_size: PositiveInt | None = Field(
        None, description="rows per step, over all devices; by default chosen from the backbone"
    )
    token_rows: int | None = Field(
        None,
        ge=0,
        description="further rows per step, over all devices, that skip all computation on grids, at little cost "
        "(where every variable has tokens); by default chosen from the backbone",
    )
    learning_rate: PositiveFloat | None = Field(
        None, description="peak learning rate; by default chosen from the backbone"
    )
    optimiser: Literal["adamw", "muon"] = Field(
        "adamw",
        description="'muon' updates the backbone's matrices by orthogonalised steps (Jordan et al. 2024), and all else "
        "by 'adamw'. It improves transformers of scalars that train for thousands of steps, at three times the "
        "learning rate (PyTorch 2.9 or later)",
    )
    weight_decay: float = Field(0.1, ge=0, description="decoupled weight decay")
    warm_up: int = Field(100, ge=0, description="steps over which the learning rate rises, before cosine decay")
    clip: PositiveFloat = Field(1.0, description="maximum norm of the gradient")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the moving average of the weights, warmed up")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of initial weights, noise and batches")
    validate_every: PositiveInt = Field(100, description="steps between validations")
    cache_precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="precision of the cached codes of images: 'bfloat16' halves their size, and rounds them by at most "
        "2^-8 of their value",
    )
    missing_weights: list[str] = Field(
        [],
        description="variables, always present in the training rows, that predict which cells of others are missing: "
        "rows are weighted by inverse probability (cells missing at random given these)",
    )
    questions: list[list[str]] = Field(
        [],
        description="evidence sets of the most frequent queries: lists of the given variables. question_share of the "
        "training rows use one of these; the others cover all other queries",
    )
    question_share: float = Field(0.5, ge=0, le=1, description="fraction of training rows that use one of 'questions'")
    draw_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="fraction of training rows for sampling only: all unknown variables at one common time. The "
        "default favours predictions in one evaluation; use .8 where draws have to be exact (not with times 'shared', "
        "where all rows are of this kind)",
    )
    time_power: PositiveFloat | None = Field(
        None,
        description="training times between 0 and 1 are uniform numbers to this power: the higher, the more times have "
        "little noise, where fine structure is learnt (4 where posteriors are a hundredth as wide as the spread of the "
        "rows); by default chosen from the backbone",
    )
