"""Results of an evaluation, before they are reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.held_out_predictions import HeldOutPredictions
from metavoxel.evaluation.image_quality import Judged
from metavoxel.evaluation.method import Method
from metavoxel.evaluation.metrics.scores import Score
from metavoxel.evaluation.regional_calibration import RegionalCalibration
from metavoxel.evaluation.report.table import ResultTable
from metavoxel.evaluation.report.tables import differences, table1, table2
from metavoxel.evaluation.samples import Samples
from metavoxel.evaluation.settings import Settings
from metavoxel.evaluation.subgroups import Group
from metavoxel.evaluation.table_quality import TableQuality
from metavoxel.evaluation.texts import DrawnText


@final
@dataclass(frozen=True, repr=False, eq=False)
class Results:
    """Inputs of the tables, the figures and the report.

    Attributes:
        held_out: the test part.
        settings: settings of the evaluation.
        joint: the joint model's predictions of every target from all other variables.
        flexible: its predictions of the target of Table 2, by subset of the other variables.
        methods: rows of Table 1: the joint model, the population baseline, the comparisons.
        scores: scores by method and target.
        groups: subgroups of test rows.
        samples: samples of the joint model; None without image quality.
        judged: image quality.
        regional_calibrations: calibration of every question, by region of the given variables.
        table_quality: generated against held-out rows; None without numbers or labels, or with too few rows.
        translations: prediction of each image from all other variables, where there are several images.
        measured: prediction of each variable with measures of its type from all others, by these measures.
        texts: true texts of some rows and one draw of each given all other variables, by variable of texts.
        notes: failures and missing measures.
    """

    held_out: HeldOut
    settings: Settings
    joint: Mapping[str, HeldOutPredictions]
    flexible: Sequence[HeldOutPredictions]
    methods: Sequence[Method]
    scores: Mapping[str, Mapping[str, Score]]
    groups: Sequence[Group]
    samples: Samples | None
    judged: Judged
    regional_calibrations: Sequence[RegionalCalibration]
    table_quality: TableQuality | None
    translations: Mapping[str, ResultTable]
    measured: Mapping[str, ResultTable]
    texts: Mapping[str, Sequence[DrawnText]]
    notes: Sequence[str]

    def __repr__(self) -> str:
        return f"Results({len(self.held_out)} test rows: {', '.join(self.joint)}; {len(self.methods)} methods)"

    @property
    def mode(self) -> str:
        """Name of the joint model's row."""
        return self.methods[0].name

    @property
    def first_calibrations(self) -> list[RegionalCalibration]:
        """Calibration of the targets of Table 1, given all other variables: the first of each target."""
        first = {one.target: one for one in reversed(self.regional_calibrations)}
        return [first[target] for target in self.joint if target in first]

    @cached_property
    def table1(self) -> ResultTable:
        """Table 1 of the paper."""
        return table1(self.held_out, self.methods, self.scores, self.judged.fid())

    @cached_property
    def differences(self) -> ResultTable:
        """Errors of every other method minus those of the joint model."""
        return differences(self.held_out, self.mode, self.scores)

    @cached_property
    def table2(self) -> ResultTable:
        """Table 2 of the paper."""
        assert self.settings.flexible is not None
        return table2(self.held_out, self.settings.flexible, self.flexible, self.methods[1])
