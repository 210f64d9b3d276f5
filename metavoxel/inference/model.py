"""A trained model: draws, predictions and likelihoods for given evidence."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack, final

import nibabel
import numpy as np
import pandas
import torch
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.inference.answer import Answer, GivenRows, as_point
from metavoxel.inference.arguments import check_counts, check_mappings, listed, refuse_with_draws, whole_seed
from metavoxel.inference.evidence import EvidenceReader, warn_of_blanked, warn_of_misspelt
from metavoxel.inference.in_memory import given_masks
from metavoxel.inference.log_likelihoods import Unusual, check_scored, log_likelihoods, unusual
from metavoxel.inference.prediction import draw, target_means
from metavoxel.inference.question import ask
from metavoxel.inference.samples import Samples
from metavoxel.inference.sampling import answer_sampling, cells_in_turn, code_bounds, sampling_of
from metavoxel.inference.show import model_html, model_text
from metavoxel.inference.subjects import draw_subjects, known_voxels, read_given
from metavoxel.inference.summaries import labels_of
from metavoxel.inference.tables import Rows, as_table, column_names, subjects_of
from metavoxel.network.joint import JointModel
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.sampling.bounds import Bounds
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.settings import Sampling, SamplingOptions
from metavoxel.schema.schema import Schema


@final
class Model:
    """Schema, codecs and joint network of a run.

    The result for a row depends on the seed and the row alone, independent of batch size, row order and the other rows.
    Several rows of one subject have different random numbers: by session and, within a session, by order of appearance.
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
        """Device of the network."""
        return self.joint.time_tags.device

    @property
    def labels(self) -> dict[str, list[str]]:
        """Labels of every category's classes, in the order of its code."""
        return labels_of(self.schema.specs, self.codecs)

    @property
    def bounds(self) -> dict[str, Bounds]:
        """Lowest and highest code of scalars with a range of valid values, within which they are drawn."""
        return code_bounds(self.schema.specs, self.codecs, self.device)

    @property
    def _shared(self) -> bool:
        return self.schema.diffusion.shared_time

    def default_sampling(self, **changes: Unpack[SamplingOptions]) -> Sampling:
        """Return this model's default sampling settings, with changes.

        Raises:
            EvidenceError: settings unknown or without effect, or 'clean' conditioning of a model with one shared time.
        """
        return sampling_of(changes, shared_time=self._shared, in_turn=cells_in_turn(self.joint, self.names))

    def value_of(self, name: str, cell: object) -> Tensor:
        """Parse a single value (*D): a number, label or path, also as text, or an image in memory.

        A nibabel image is read as a file of the same content. Tensors, and arrays on the model's grid, are values as
        they are.

        A text that is a label of a category, and the table's code of another, is taken as the label.

        Raises:
            EvidenceError: it cannot be read, or a rule of the schema makes it missing.
        """
        return self._reader.value_of(name, cell)

    def sample(
        self,
        n: int = 1,
        given: Mapping[str, object] | None = None,
        masks: Mapping[str, Tensor | np.ndarray | nibabel.Nifti1Image] | None = None,
        *,
        seed: int = 0,
        **sampling: Unpack[SamplingOptions],
    ) -> Samples:
        """Draw ``n`` rows of all variables from p(all | given), in data space.

        Args:
            n: number of draws.
            given: a value for each known variable as for :meth:`value_of` (30.0, a label, a path, an image). "30±2" is
                a measurement with error of standard deviation 2; draws of the variable are of its true value.
            masks: for an image given in part, mask of its known voxels (*D) (above .5), which are returned exactly; a
                nibabel image of a mask is placed on the model's grid by its affine.
            seed: draw k of a seed is the same for any ``n``.
            sampling: settings of :class:`metavoxel.sampling.settings.Sampling` (steps, solver, conditioning, ...).

        Raises:
            EvidenceError: unknown variables, values that cannot be read, empty masks, or no variable left to sample.
        """
        check_counts(n=(n, 1))
        check_mappings(given=given, masks=masks)
        seed, given = whole_seed(seed), dict(given or {})
        tensors = given_masks(self.schema.specs, given, masks or {})
        unknown = self.joint.kernels.keys() - (given.keys() - tensors.keys())
        settings = answer_sampling(self.joint, unknown, sampling, draws=1, shared_time=self._shared)
        known = read_given(self.schema, self._reader, given, tensors, settings)
        drawn = draw_subjects(
            self.joint, self.codecs, self._reader, known, known_voxels(tensors), n,
            seed=seed, sampling=settings, bounds=self.bounds,
        )  # fmt: skip
        return Samples(drawn, self.schema.specs)

    def read(self, table: Rows, variables: Sequence[str], *, folder: Path | str | None = None) -> Cohort:
        """Read some variables of a table of new rows; missing cells stay missing.

        Raises:
            CohortError: all problems of the table.
        """
        return self._reader.read(as_table(table, self.schema, folder=folder), variables, folder=folder)

    def evidence_of(self, cohort: Cohort, names: Sequence[str]) -> dict[str, Evidence]:
        """Encode all rows of a cohort as evidence; missing cells are unknown."""
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
        folder: Path | str | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> pandas.DataFrame:
        """Predict the targets for each row of a table; return a table of subjects and predictions, in its order.

        Args:
            table: data frame (with the table's columns), path, or rows as dictionaries. Other columns are ignored.
            target: variables to predict.
            given: variables to predict from; by default all others in the table.
            point: 'mean' (the default) or 'median' of a number's draws.
            vote: whether a category's label is that of most draws, as in the paper, not of highest mean probability.
            draws, order, prior, evaluations, seed, folder, sampling: as for :meth:`answer`.

        Raises:
            EvidenceError: unknown or contradictory names, or no draws from a model with one shared time.
            CohortError: all problems of the table.
        """
        center = as_point(point, vote=vote, draws=draws)
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
        folder: Path | str | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Answer:
        """Return the predictions behind the table of :meth:`predict`, with all draws and predicted images.

        Args:
            table, target, given: as for :meth:`predict`.
            draws: 0 for the posterior mean of each target in a few evaluations, else the number of joint draws.
            order: targets in the order in which they are drawn, each given those before it (by default the schema's),
                or 'together' for one trajectory of all.
            prior: base rates of one category in the rows' population, by label: {"sex": {"F": 0.5, "M": 0.5}}.
            evaluations: network evaluations of a posterior mean (``draws`` 0); 4 by default, or 1 if all are equal.
            seed: the result for a row depends on the seed and the row's key alone.
            folder: base of relative paths in a data frame.
            sampling: settings of :class:`metavoxel.sampling.settings.Sampling` (``draws`` above 0).

        Raises:
            EvidenceError: unknown or contradictory names or settings, or no draws from a model with one shared time.
            CohortError: all problems of the table.
        """
        check_counts(draws=(draws, 0), evaluations=(evaluations, 1))
        seed = whole_seed(seed)
        table = as_table(table, self.schema, folder=folder)
        refuse_with_draws(draws, evaluations)
        targets = listed(target, "target") or []
        settings = answer_sampling(self.joint, targets, sampling, draws=draws, shared_time=self._shared)
        in_turn = settings.conditioning == "clean" and (len(targets) < 2 or not settings.guidance)
        question = ask(
            self.schema, self.labels, column_names(table), targets, listed(given, "given"),
            draws=draws, order=order, prior=prior, in_turn=in_turn,
        )  # fmt: skip
        if given is None:
            warn_of_misspelt(self.schema, column_names(table), targets)
        cohort = self.read(table, question.given, folder=folder)
        warn_of_blanked(cohort, self.names)
        evidence = self.evidence_of(cohort, question.given)
        parts = (self.joint, question, self.labels, evidence, cohort.row_keys)
        evaluations = evaluations or self.joint.mean_evaluations
        return Answer(
            question,
            self.schema,
            self.codecs,
            subjects_of(table, cohort.subjects, self.schema),
            cohort.row_keys,
            means={} if draws else target_means(self.joint.of(targets), *parts[1:], evaluations=evaluations, seed=seed),
            draws=draw(*parts, seed=seed, sampling=settings, shared=self._shared, bounds=self.bounds) if draws else [],
            given=GivenRows(cohort, evidence),
        )

    def log_likelihood(
        self,
        table: Rows,
        variables: str | Sequence[str] | None = None,
        given: str | Sequence[str] | None = None,
        *,
        evaluations: int | None = None,
        seed: int = 0,
        folder: Path | str | None = None,
    ) -> pandas.DataFrame:
        """Return the log-likelihood of each value given the others of its row: subject, and ``logp[name]`` in nats.

        Args:
            table: as for :meth:`predict`.
            variables: to evaluate; by default all in the table.
            given: variables to condition on, except the evaluated one; by default all in the table.
            evaluations: network evaluations per value: by default 32 for a number or an image, 4 for a category.
            seed, folder: as for :meth:`answer`.

        Raises:
            EvidenceError: unknown names, a model with one shared time, or a kernel without a likelihood.
            CohortError: all problems of the table.
        """
        check_counts(evaluations=(evaluations, 1))
        seed = whole_seed(seed)
        table = as_table(table, self.schema, folder=folder)
        names, conditions = check_scored(
            self.schema, self.joint, column_names(table), listed(variables, "variables"), listed(given, "given")
        )  # fmt: skip
        if given is None:
            warn_of_misspelt(self.schema, column_names(table), ())
        cohort = self.read(table, list(dict.fromkeys([*names, *conditions])), folder=folder)
        warn_of_blanked(cohort, self.names)
        evidence = self.evidence_of(cohort, list(cohort.variables))
        return log_likelihoods(
            self.joint, self.schema, self.codecs, cohort, evidence, names, conditions,
            subjects=subjects_of(table, cohort.subjects, self.schema), evaluations=evaluations, seed=seed,
        )  # fmt: skip

    def unusual(self, table: Rows, given: Sequence[str], *, seed: int = 0) -> list[Unusual]:
        """Return improbable numbers and categories given the others of their row, the least probable first.

        Raises:
            CohortError: all problems of the table.
        """
        seed = whole_seed(seed)
        names = [name for name in given if not self.schema.variables[name].spec.spatial]
        cohort = self.read(table, names)
        return self.unusual_in(GivenRows(cohort, self.evidence_of(cohort, names)), seed=seed)

    def unusual_in(self, rows: GivenRows, *, seed: int = 0) -> list[Unusual]:
        """Return the same of rows that have been read; images are not part of the evidence."""
        return unusual(self.joint.of, self.schema, self.codecs, rows, seed=seed, shared=self._shared)
