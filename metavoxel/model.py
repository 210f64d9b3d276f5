"""A trained model: what it knows, and the questions it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import final

import pandas
import torch
from torch import Tensor

from metavoxel.codecs.base import AbstractCodec
from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.read import build_cohort
from metavoxel.cohort.table import Table
from metavoxel.errors import EvidenceError, Problem, did_you_mean
from metavoxel.joint import JointModel
from metavoxel.sampling.ask import Sampling, check_conditioning, posterior_means, row_streams, sample_codes
from metavoxel.sampling.evidence import Given
from metavoxel.sampling.predict import Point, draw_cells, mean_cells
from metavoxel.schema.schema import Schema
from metavoxel.typing import AnyCode
from metavoxel.variables.base import Blank


@final
class Model:
    """Schema, codecs and joint network of a run.

    ``sample`` and ``predict`` depend on the seed and the rows alone: never on batch size, order or company.
    """

    def __init__(self, schema: Schema, codecs: Mapping[str, AbstractCodec], joint: JointModel) -> None:
        self.schema, self.codecs, self.joint = schema, dict(codecs), joint
        for module in (joint, *self.codecs.values()):
            module.eval()

    @property
    def names(self) -> list[str]:
        """Variables in the schema's order."""
        return list(self.schema.variables)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.joint.time_tags.device

    def default_sampling(self, **changes: object) -> Sampling:
        """How this model is best sampled, with some settings changed.

        Raises:
            EvidenceError: unknown settings, or 'clean' conditioning of a model with one shared time.
        """
        known = [field.name for field in fields(Sampling)]
        problems = [
            Problem(name, f"no setting of sampling.{did_you_mean(name, known)} Settings: {', '.join(known)}")
            for name in changes
            if name not in known
        ]
        if problems:
            raise EvidenceError(problems)
        shared = self.schema.diffusion.times == "shared"
        base = {"conditioning": "replace", "solver": "ddim", "grid": "uniform"} if shared else {}
        sampling = Sampling(**{**base, **{name: value for name, value in changes.items() if value is not None}})  # type: ignore[arg-type]
        if sampling.problems():
            raise EvidenceError(sampling.problems())
        check_conditioning(self.schema.diffusion.times, sampling.conditioning)
        return sampling

    def _refuse_unknown(self, names: Sequence[str], where: str) -> list[Problem]:
        return [
            Problem(where, f"no variable {name!r}.{did_you_mean(name, self.names)} Variables: {', '.join(self.names)}")
            for name in names
            if name not in self.schema.variables
        ]

    def value_of(self, name: str, cell: object) -> Tensor:
        """A value (*D) given as a table's cell would be: a number, a label, a path; or as a tensor already.

        Raises:
            EvidenceError: it cannot be read, or a rule of the schema makes it missing.
        """
        if isinstance(cell, Tensor):
            return cell
        spec = self.schema.variables[name].spec
        try:
            value = spec.parse(str(cell))
        except (ValueError, OSError) as error:
            raise EvidenceError(Problem(f"given {name}={cell}", str(error))) from None
        if isinstance(value, Blank):
            raise EvidenceError(Problem(f"given {name}={cell}", value.rule))
        return value

    def _values(self, given: Mapping[str, object]) -> dict[str, Tensor]:
        """What ``value_of`` makes of all of them, or all that is wrong with them."""
        values, problems = {}, []
        for name, cell in given.items():
            try:
                values[name] = self.value_of(name, cell)
                if values[name].shape != (shape := self.schema.variables[name].spec.data_shape):
                    problems.append(
                        Problem(f"given {name}", f"must have shape {shape}, not {tuple(values[name].shape)}")
                    )
            except EvidenceError as error:
                problems += error.problems
        if problems:
            raise EvidenceError(problems)
        return values

    @torch.inference_mode()
    def _give(self, name: str, values: Tensor, known: Tensor | None = None) -> Given:
        """Evidence of a batch of values (b, *D); ``known`` marks the data that are."""
        codec = self.codecs[name]
        values = values.to(self.device)
        if known is None:
            code = codec.encode(values).mean
            return Given(code, torch.ones(len(code), 1, *code.shape[2:], dtype=torch.bool, device=self.device))
        encoded, trusted = codec.encode_partial(values, known.to(self.device))
        return Given(encoded.mean, trusted)

    @torch.inference_mode()
    def sample(
        self,
        n: int = 1,
        given: Mapping[str, object] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        *,
        seed: int = 0,
        **sampling: object,
    ) -> dict[str, Tensor]:
        """Draw ``n`` rows of all variables from p(all | given), in data space.

        Args:
            n: draws.
            given: a value for each known variable, as a table's cell (30.0, "F", a path) or a tensor (*D).
            masks: for an image given in part, which of its voxels (*D) are known; those come back exactly.
            seed: draw k of one seed is the same whatever ``n``.
            sampling: settings of :class:`metavoxel.sampling.ask.Sampling` (steps, solver, conditioning, ...).

        Raises:
            EvidenceError: unknown variables, values that cannot be read, nothing left to sample.
        """
        given, masks = dict(given or {}), dict(masks or {})
        problems = self._refuse_unknown([*given], "given") + self._refuse_unknown([*masks], "mask")
        problems += [
            Problem("mask", f"{name!r} needs a value to be partly known") for name in masks if name not in given
        ]
        if not problems and set(self.names) <= set(given) - set(masks):
            problems = [Problem("given", "every variable is given, so nothing is left to sample; leave one out")]
        if problems:
            raise EvidenceError(problems)
        values = self._values(given)
        for name, mask in masks.items():
            if mask.shape != values[name].shape:
                shapes = f"{list(mask.shape[1:])}, and the image on the model's grid {list(values[name].shape[1:])}"
                raise EvidenceError(Problem(f"mask {name}", f"its shape is {shapes}"))
        evidence = {}
        for name, value in values.items():
            known = masks[name].bool() if name in masks else None
            entry = self._give(name, value[None], None if known is None else known[None])
            evidence[name] = Given(
                entry.code.expand(n, *entry.code.shape[1:]), entry.known.expand(n, *entry.known.shape[1:])
            )
        settings = self.default_sampling(**sampling)
        rng = row_streams(seed, [f"draw {index}" for index in range(n)], 0)
        codes = sample_codes(self.joint, evidence, rng, settings)
        drawn = {}
        for name, code in codes.items():
            if name in values and name not in masks:
                drawn[name] = values[name].expand(n, *values[name].shape).clone()
                continue
            data = torch.cat([self.codecs[name].decode(row[None]).cpu() for row in code])
            drawn[name] = torch.where(masks[name].bool(), values[name], data) if name in masks else data
        return drawn

    def read(self, table: Table | pandas.DataFrame, variables: Sequence[str], *, folder: Path | None = None) -> Cohort:
        """Values of some variables in a table of other rows than the run's own; missing cells stay missing.

        Raises:
            CohortError: all that is wrong with it.
        """
        if isinstance(table, pandas.DataFrame):
            frame = table.astype(object).where(table.notna(), "").astype(str).reset_index(drop=True)
            table = Table(frame, folder or Path(), "table", [f"table row {row + 1}" for row in range(len(frame))])
        specs = {name: self.schema.variables[name].spec for name in variables}
        return build_cohort(table, specs, self.schema.cohort, split=False)

    def evidence_of(self, cohort: Cohort, names: Sequence[str]) -> dict[str, Given]:
        """Evidence of all rows of a cohort; a missing cell is an unknown one."""
        evidence = {}
        for name in names:
            column, shape = cohort.columns[name], self.joint.code_shapes[name]
            code = torch.zeros(len(cohort), *shape, device=self.device)
            known = torch.zeros(len(cohort), 1, *shape[1:], dtype=torch.bool, device=self.device)
            for start in range(0, len(cohort), 16):
                rows = torch.arange(start, min(start + 16, len(cohort)))
                rows = rows[column.present[rows]]
                if len(rows):
                    entry = self._give(name, column.read(rows))
                    code[rows], known[rows] = entry.code, entry.known
            evidence[name] = Given(code, known)
        return evidence

    def predict(
        self,
        table: Table | pandas.DataFrame,
        target: str | Sequence[str],
        given: Sequence[str] | None = None,
        *,
        draws: int = 0,
        evaluations: int = 4,
        seed: int = 0,
        folder: Path | None = None,
        point: Point | None = None,
        vote: bool = False,
        **sampling: object,
    ) -> pandas.DataFrame:
        """One row for each of the table's, in order: the subject, and what is predicted of each target.

        Args:
            table: rows as text, as a cohort's table; columns of variables that are neither target nor given are
            ignored.
            target: variables to predict.
            given: variables to predict from; by default all others that the table has.
            draws: 0 for the posterior mean in a few evaluations, else how many samples to summarise.
            evaluations: network evaluations of the posterior mean (``draws`` 0).
            seed: a row's answer depends on this and its key alone.
            folder: where relative paths in a data frame start.
            point: 'mean' (the default) or 'median' of a number's draws.
            vote: a category's label by majority of the draws, as in the paper, instead of by mean probability.
            sampling: settings of :class:`metavoxel.sampling.ask.Sampling` (``draws`` above 0).

        Raises:
            EvidenceError: unknown or contradictory names, or a mean asked of a model with one shared time.
            CohortError: all that is wrong with the table.
        """
        targets = [target] if isinstance(target, str) else list(target)
        names = self._predictors(table, targets, given)
        if draws == 0 and self.schema.diffusion.times == "shared":
            raise EvidenceError(
                "draws 0 needs a model trained with diffusion.times 'evidence'; one with a shared time never saw "
                "clean evidence beside an unknown. Ask for --draws 3, as the paper does"
            )
        asked = [name for name, value in sampling.items() if value is not None]
        asked += [name for name, changed in {"point": point is not None, "vote": vote}.items() if changed]
        if draws == 0 and asked:
            raise EvidenceError(
                Problem(", ".join(asked), "say how samples are drawn; ask for --draws 1 or more, or leave them out")
            )
        cohort = self.read(table, names, folder=folder)
        evidence = self.evidence_of(cohort, names)
        rows: list[dict[str, object]] = [{self.schema.cohort.subject: subject} for subject in cohort.subjects]
        if draws == 0:
            means = posterior_means(
                self.joint, evidence, row_streams(seed, cohort.row_keys, 0), evaluations=evaluations
            )
            answers = {name: [means[name]] for name in targets}
        else:
            answers = self._draw(evidence, targets, cohort.row_keys, draws, seed, self.default_sampling(**sampling))
        for name in targets:
            spec, codec = self.schema.variables[name].spec, self.codecs[name]
            codes = [code.cpu() if codec.support == "one_hot" else code for code in answers[name]]
            if draws:
                ballots = self._votes(name, codes, cohort.row_keys, seed) if vote else None
                cells = draw_cells(name, spec, codec, codes, point=point or "mean", votes=ballots)
            else:
                cells = mean_cells(name, spec, codec, codes[0])
            for row, more in zip(rows, cells, strict=True):
                row.update(more)
        return pandas.DataFrame(rows)

    def _predictors(
        self, table: Table | pandas.DataFrame, targets: Sequence[str], given: Sequence[str] | None
    ) -> list[str]:
        problems = self._refuse_unknown(targets, "target")
        if given is None:
            columns = set(map(str, table.columns if isinstance(table, pandas.DataFrame) else table.frame.columns))
            specs = self.schema.specs
            names = [name for name in self.names if name not in targets and specs[name].needs(name) <= columns]
            others = {column for name in self.names if name not in targets for column in specs[name].needs(name)}
            if others and not names and not problems:
                what = f"the table has nothing to predict from; columns of other variables: {', '.join(sorted(others))}"
                problems.append(Problem("given", what))
        else:
            names = list(dict.fromkeys(given))
            problems += self._refuse_unknown(names, "given")
            problems += [
                Problem("given", f"{name!r} is also a target; a variable is either asked for or given")
                for name in names
                if name in targets
            ]
        if not targets:
            problems.append(Problem("target", f"name what to predict: {', '.join(self.names)}"))
        if problems:
            raise EvidenceError(problems)
        return names

    def _votes(self, name: str, draws: Sequence[Tensor], keys: Sequence[str], seed: int) -> Tensor | None:
        """One label (k, b) for each draw's class probabilities, None for a number."""
        if self.codecs[name].support != "one_hot":
            return None
        streams = [row_streams(seed, keys, draw).fork(name, "vote") for draw in range(len(draws))]
        return torch.stack(
            [
                (torch.log(code) + stream.gumbel(tuple(code.shape))).argmax(1)
                for code, stream in zip(draws, streams, strict=True)
            ]
        )

    def _draw(
        self,
        evidence: Mapping[str, Given],
        targets: Sequence[str],
        keys: Sequence[str],
        draws: int,
        seed: int,
        sampling: Sampling,
    ) -> dict[str, list[AnyCode]]:
        """Draws of the targets, a category as its class probabilities.

        What is neither target nor given is integrated out, where the model can.
        """
        others = [] if self.schema.diffusion.times == "shared" else [n for n in self.names if n not in targets]
        found: dict[str, list[AnyCode]] = {name: [] for name in targets}
        for draw in range(draws):
            codes = sample_codes(
                self.joint, evidence, row_streams(seed, keys, draw), sampling, marginal=others, soft_end=True
            )
            for name in targets:
                found[name].append(codes[name])
        return found
