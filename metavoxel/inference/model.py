"""A trained model: what it knows, and the questions it answers."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack, final

import numpy as np
import pandas
import torch
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.table import Table
from metavoxel.inference.answer import Answer, as_point
from metavoxel.inference.evidence import EvidenceReader, warn_of_blanked
from metavoxel.inference.prediction import draw, target_means
from metavoxel.inference.question import ask, check_counts, listed, refuse_with_draws, refuse_without_draws
from metavoxel.inference.samples import Samples
from metavoxel.inference.sampling import answer_sampling, sampling_of
from metavoxel.inference.scores import Unusual, check_scored, log_likelihoods, unusual
from metavoxel.inference.show import model_html, model_text
from metavoxel.inference.subjects import draw_subjects, known_voxels, read_given
from metavoxel.inference.summaries import category_labels
from metavoxel.inference.tables import Rows, as_table, column_names
from metavoxel.network.joint import JointModel
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.sampling.bounds import Bounds, codes_between
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.settings import Sampling, SamplingOptions
from metavoxel.schema.schema import Schema


@final
class Model:
    """Schema, codecs and joint network of a run.

    Answers depend on the seed and the rows alone: never on batch size or order, nor on company, but that each of a
    subject's rows has random numbers of its own where a table has several of them: by its session, and by the order
    of appearance among rows that have both in common.
    """

    def __init__(self, schema: Schema, codecs: Mapping[str, AbstractCodec], joint: JointModel) -> None:
        self.schema, self.codecs, self.joint = schema, dict(codecs), joint
        for module in (joint, *self.codecs.values()):
            module.eval()
        self._reader = EvidenceReader(schema, self.codecs, self.device)

    def __repr__(self) -> str:
        return model_text(self.schema, self.joint)

    def _repr_html_(self) -> str:
        return model_html(self.schema, self.joint)

    @property
    def names(self) -> list[str]:
        """Variables in the schema's order."""
        return list(self.schema.variables)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.joint.time_tags.device

    @property
    def labels(self) -> dict[str, list[str]]:
        """What a table calls the classes of every category, in the order of its code."""
        return {
            name: category_labels(self.schema.variables[name].spec, codec)
            for name, codec in self.codecs.items()
            if codec.support == "one_hot" and len(codec.code_shape) == 1
        }

    @property
    def bounds(self) -> dict[str, Bounds]:
        """Lowest and highest code of numbers whose type names values that count as missing: none is drawn beyond."""
        found = {}
        for name, codec in self.codecs.items():
            ends = self.schema.variables[name].spec.bounds()
            if ends not in (None, (-math.inf, math.inf)) and tuple(codec.code_shape) == (1,):
                bounds = codes_between(codec, ends, self.device)
                if bounds is not None:
                    found[name] = bounds
        return found

    @property
    def _shared(self) -> bool:
        return self.schema.diffusion.times == "shared"

    def default_sampling(self, **changes: Unpack[SamplingOptions]) -> Sampling:
        """How this model is best sampled, with some settings changed.

        Raises:
            EvidenceError: settings unknown or without effect, or 'clean' conditioning of a model with one shared time.
        """
        return sampling_of(self.schema.diffusion.times, changes)

    def value_of(self, name: str, cell: object) -> Tensor:
        """A value (*D) given by itself: a number, a label, a path, as text or not; or as a tensor already.

        Where a text is a label of a category and also the table's code of another, it is the label.

        Raises:
            EvidenceError: it cannot be read, or a rule of the schema makes it missing.
        """
        return self._reader.value_of(name, cell)

    def sample(
        self,
        n: int = 1,
        given: Mapping[str, object] | None = None,
        masks: Mapping[str, Tensor | np.ndarray] | None = None,
        *,
        seed: int = 0,
        **sampling: Unpack[SamplingOptions],
    ) -> Samples:
        """Draw ``n`` rows of all variables from p(all | given), in data space.

        Args:
            n: draws.
            given: a value for each known variable (30.0, a label, a path) or a tensor (*D). A text that is a label and
                also the table's code of another label is the label. A number may have an error: "30±2" is a measurement
                with that standard deviation, and draws of the variable are then of what was measured.
            masks: for an image given in part, which of its voxels (*D) are known (above .5); those come back exactly.
            seed: draw k of one seed is the same whatever ``n``.
            sampling: settings of :class:`metavoxel.sampling.settings.Sampling` (steps, solver, conditioning, ...).

        Raises:
            EvidenceError: unknown variables, values that cannot be read, masks of nothing, nothing left to sample.
        """
        check_counts(n=(n, 1))
        given, marks = dict(given or {}), {name: torch.as_tensor(mask) for name, mask in (masks or {}).items()}
        settings = self.default_sampling(**sampling)
        known = read_given(self.schema, self._reader, given, marks, settings)
        drawn = draw_subjects(
            self.joint, self.codecs, self._reader, known, known_voxels(marks), n,
            seed=seed, sampling=settings, bounds=self.bounds,
        )  # fmt: skip
        return Samples(drawn, self.schema.specs)

    def read(self, table: Rows, variables: Sequence[str], *, folder: Path | None = None) -> Cohort:
        """Values of some variables in a table of other rows than the run's own; missing cells stay missing.

        Raises:
            CohortError: all that is wrong with it.
        """
        return self._reader.read(as_table(table, self.schema, folder=folder), variables, folder=folder)

    def evidence_of(self, cohort: Cohort, names: Sequence[str]) -> dict[str, Evidence]:
        """Evidence of all rows of a cohort; a missing cell is an unknown one."""
        return self._reader.evidence_of(cohort, names)

    def predict(
        self,
        table: Rows,
        target: str | Sequence[str],
        given: str | Sequence[str] | None = None,
        *,
        point: str | None = None,
        vote: bool = False,
        draws: int = 0,
        order: Sequence[str] | str | None = None,
        prior: Mapping[str, Mapping[str, float]] | None = None,
        evaluations: int | None = None,
        seed: int = 0,
        folder: Path | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> pandas.DataFrame:
        """One row for each row of the table, in order: the subject, and what is predicted of the targets.

        Args:
            table: data frame in the columns of the schema's table, the path of a table, or rows as dictionaries;
                columns of variables that are neither target nor given are ignored.
            target: variables to predict.
            given: variables to predict from; by default all others that the table has.
            point: 'mean' (the default) or 'median' of a number's draws.
            vote: a category's label by majority of the draws, as in the paper, instead of by mean probability.
            draws, order, prior, evaluations, seed, folder, sampling: as for :meth:`answer`.

        Raises:
            EvidenceError: unknown or contradictory names, or a mean asked of a model with one shared time.
            CohortError: all that is wrong with the table.
        """
        if not draws:
            refuse_without_draws(0, {"point": point, "vote": vote or None})
        center = as_point(point or "mean")
        answer = self.answer(
            table, target, given,
            draws=draws, order=order, prior=prior, evaluations=evaluations, seed=seed, folder=folder, **sampling,
        )  # fmt: skip
        frame = answer.table(point=center, vote=vote)
        return frame.set_axis(table.index) if isinstance(table, pandas.DataFrame) else frame

    def answer(
        self,
        table: Rows,
        target: str | Sequence[str],
        given: str | Sequence[str] | None = None,
        *,
        draws: int = 0,
        order: Sequence[str] | str | None = None,
        prior: Mapping[str, Mapping[str, float]] | None = None,
        evaluations: int | None = None,
        seed: int = 0,
        folder: Path | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Answer:
        """What ``predict`` makes its table of; also has the draws, and writes predicted images.

        Args:
            table, target, given: as for :meth:`predict`.
            draws: 0 for the posterior mean of each target in a few evaluations, else how many joint draws.
            order: targets in the order in which they are drawn, each given those before it (by default the schema's),
                or 'together' for one walk of all.
            prior: base rates of one category where the rows come from, by label: {"sex": {"F": 0.5, "M": 0.5}}.
            evaluations: network evaluations of a posterior mean (``draws`` 0); 4 by default.
            seed: a row's answer depends on this and its key alone.
            folder: where relative paths in a data frame start.
            sampling: settings of :class:`metavoxel.sampling.settings.Sampling` (``draws`` above 0).

        Raises:
            EvidenceError: unknown or contradictory names or settings, or a mean asked of a model with one shared time.
            CohortError: all that is wrong with the table.
        """
        check_counts(draws=(draws, 0), evaluations=(evaluations, 1))
        table = as_table(table, self.schema, folder=folder)
        refuse_with_draws(draws, evaluations)
        targets = listed(target) or []
        settings = answer_sampling(self.schema.diffusion.times, draws, sampling)
        in_turn = settings.conditioning == "clean" and (len(targets) < 2 or not settings.guidance)
        question = ask(
            self.schema, self.labels, column_names(table), targets, listed(given),
            draws=draws, order=order, prior=prior, in_turn=in_turn,
        )  # fmt: skip
        cohort = self.read(table, question.given, folder=folder)
        warn_of_blanked(cohort, self.names)
        evidence = self.evidence_of(cohort, question.given)
        parts = (self.joint, question, self.labels, evidence, cohort.row_keys)
        usual = 1 if self.joint.ignores_prior_states else 4
        return Answer(
            question,
            self.schema,
            self.codecs,
            _subjects(table, cohort, self.schema),
            cohort.row_keys,
            means={} if draws else target_means(*parts, evaluations=evaluations or usual, seed=seed),
            draws=draw(*parts, seed=seed, sampling=settings, shared=self._shared, bounds=self.bounds) if draws else [],
        )

    def log_likelihood(
        self,
        table: Rows,
        variables: str | Sequence[str] | None = None,
        given: str | Sequence[str] | None = None,
        *,
        evaluations: int | None = None,
        seed: int = 0,
        folder: Path | None = None,
    ) -> pandas.DataFrame:
        """How probable each value of a table is, given the others of its row: subject, and ``logp[name]`` in nats.

        Args:
            table: as for :meth:`predict`.
            variables: whose values are judged; by default all that the table has.
            given: from which; by default all that the table has. A variable is never given for itself.
            evaluations: network evaluations a value: 32 by default for a number or an image, 4 for a category.
            seed, folder: as for :meth:`answer`.

        Raises:
            EvidenceError: unknown names, a model with one shared time, or a kernel without a bound.
            CohortError: all that is wrong with the table.
        """
        check_counts(evaluations=(evaluations, 1))
        table = as_table(table, self.schema, folder=folder)
        names, conditions = check_scored(
            self.schema, self.joint, column_names(table), listed(variables), listed(given)
        )  # fmt: skip
        cohort = self.read(table, list(dict.fromkeys([*names, *conditions])), folder=folder)
        warn_of_blanked(cohort, self.names)
        evidence = self.evidence_of(cohort, list(cohort.variables))
        return log_likelihoods(
            self.joint, self.schema, self.codecs, cohort, evidence, names, conditions,
            subjects=_subjects(table, cohort, self.schema), evaluations=evaluations, seed=seed,
        )  # fmt: skip

    def unusual(self, table: Rows, given: Sequence[str], *, seed: int = 0) -> list[Unusual]:
        """Numbers and categories that are unlike the training rows', given the others of their row: the oddest first.

        Raises:
            CohortError: all that is wrong with the table.
        """
        names = [name for name in given if not self.schema.variables[name].spec.spatial]
        cohort = self.read(table, names)
        evidence = self.evidence_of(cohort, names)
        found = unusual(self.joint, self.schema, self.codecs, cohort, evidence, seed=seed, shared=self._shared)
        return sorted(found, key=lambda one: one.probability)


def _subjects(table: Table | pandas.DataFrame, cohort: Cohort, schema: Schema) -> list[object]:
    """The rows' subjects, as a data frame has them: what is answered can then be merged with it."""
    if isinstance(table, pandas.DataFrame):
        return list(table.iloc[:, column_names(table).index(schema.cohort.subject)])
    return list(cohort.subjects)
