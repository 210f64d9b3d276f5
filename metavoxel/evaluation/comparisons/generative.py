"""Joint models of modified schemas, trained as the run was and with its codecs (MetaVoxel 4.1).

``ldm`` is latent diffusion of the images alone (Rombach et al. 2022, "High-resolution image synthesis with latent
diffusion models"). ``continuous_sex`` models binary categories as continuous variables.
"""

import shutil
import time
from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.evaluation.comparisons.base import AbstractComparison, Done, Job
from metavoxel.evaluation.comparisons.predictor import parameters
from metavoxel.evaluation.comparisons.scalar_label import ScalarLabelPlugin, ScalarLabelSpec
from metavoxel.evaluation.comparisons.stopwatch import Stopwatch
from metavoxel.evaluation.comparisons.study import Study
from metavoxel.inference.answer import Answer
from metavoxel.inference.model import Model
from metavoxel.inference.samples import write_samples
from metavoxel.learning.training import training
from metavoxel.parts.variables.base import Parts
from metavoxel.plugins.registry import Registry, load_registry
from metavoxel.runs.progress import Progress
from metavoxel.runs.run import RunFolder, load
from metavoxel.schema import Schema
from metavoxel.schema.schema import Variable
from metavoxel.schema.settings import TrainingSettings

PAPER_DRAWS, PAPER_STEPS, EVALUATIONS = 3, 50, 4
"""Draws and steps per prediction with one shared time; network evaluations per prediction by posterior means."""
SAMPLES_SEED = 0


class AbstractGenerative(AbstractComparison):
    """Joint model of a modified schema, trained in the subfolder ``run``, with its samples and predictions."""

    @abstractmethod
    def modified(self, schema: Schema) -> Schema:
        """Return the schema to train."""

    def registry(self) -> Registry:
        """Return the registry of types that the modified schema names."""
        return load_registry()

    def predicted(self, study: Study) -> Sequence[str]:
        """Return the targets that the method predicts."""
        return ()

    def predict(self, study: Study, folder: Path, model: Model, target: str) -> None:
        """Write the table of predictions of a target to ``folder``."""
        raise NotImplementedError(f"{type(self).__name__} does not predict")

    def jobs(self, study: Study, folder: Path, watch: Stopwatch) -> Iterator[Job]:
        run = RunFolder(folder / "run")
        yield Job("joint", self._fit(study, run, folder.name, watch))
        if not run.weights.exists():
            return  # training failed
        if study.images and study.settings.samples:
            yield Job(f"{study.settings.samples} samples", self._sample(study, run, folder))
        for target in self.predicted(study):
            yield Job(target, self._predict(study, run, folder, target))

    def _fit(self, study: Study, run: RunFolder, method: str, watch: Stopwatch) -> Generator[Progress, None, Done]:
        if not run.weights.exists():
            with watch.running("joint"):
                yield from self._train(study, run, method)
        shutil.rmtree(run.cache, ignore_errors=True)  # the same images are cached in the compared run
        shutil.rmtree(run.checkpoints, ignore_errors=True)
        model = self._load(study, run)
        return Done({}, 0, parameters(model.joint) + sum(map(parameters, model.codecs.values())), 0.0)

    def _sample(self, study: Study, run: RunFolder, folder: Path) -> Generator[Progress, None, Done]:
        stage, count = f"{folder.name} samples", study.settings.samples
        yield Progress(stage, 0, count, {})
        model = self._load(study, run)
        drawn = model.sample(count, seed=SAMPLES_SEED)
        shutil.rmtree(folder / "samples", ignore_errors=True)
        write_samples(folder / "samples", model.schema.specs, drawn)
        yield Progress(stage, count, count, {})
        return Done({}, 0, 0, 0.0)

    def _predict(self, study: Study, run: RunFolder, folder: Path, target: str) -> Generator[Progress, None, Done]:
        model = self._load(study, run)
        start = time.perf_counter()
        self.predict(study, folder, model, target)
        seconds = (time.perf_counter() - start) / len(study.rows("test"))
        yield Progress(f"{folder.name} {target}", 1, 1, {})
        shared = model.schema.diffusion.shared_time
        return Done({target: study.others(target)}, PAPER_DRAWS * PAPER_STEPS if shared else EVALUATIONS, 0, seconds)

    def _load(self, study: Study, run: RunFolder) -> Model:
        return load(run.path, registry=self.registry(), device=str(_device(study)))

    def _train(self, study: Study, run: RunFolder, method: str) -> Iterator[Progress]:
        schema = self.modified(study.model.schema)
        for name, variable in schema.variables.items():
            if variable == study.model.schema.variables[name] and not run.codec(name).exists():
                run.codec(name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(study.run.codec(name), run.codec(name))
        split = study.run.read_record()["split"]
        for progress in training(
            schema,
            run.path,
            resume=run.record.exists(),
            precision=study.settings.precision,
            accelerator=study.settings.accelerator,
            registry=self.registry(),
            split=split,
        ):
            yield progress._replace(stage=f"{method} {progress.stage}")


@final
class LatentDiffusion(AbstractGenerative):
    """Latent diffusion of the images alone, which shows the effect of the tabular variables on image quality."""

    @property
    def summary(self) -> str:
        return "latent diffusion of the images alone"

    def unsuitable(self, schema: Schema) -> str | None:
        return None if any(spec.spatial for spec in schema.specs.values()) else "needs an image"

    def modified(self, schema: Schema) -> Schema:
        images = {name: variable for name, variable in schema.variables.items() if variable.spec.spatial}
        return _with_variables(schema, images)


@final
class ContinuousLabels(AbstractGenerative):
    """Joint model with binary categories as continuous variables, which shows the effect of discrete diffusion."""

    @property
    def summary(self) -> str:
        return "the joint model with binary categories as continuous variables"

    def unsuitable(self, schema: Schema) -> str | None:
        return None if _binary(schema) else "needs a binary category"

    def registry(self) -> Registry:
        return load_registry([ScalarLabelPlugin()])

    def modified(self, schema: Schema) -> Schema:
        variables = dict(schema.variables)
        for name in _binary(schema):
            variables[name] = _as_number(schema, schema.variables[name])
        return _with_variables(schema, variables)

    def predicted(self, study: Study) -> Sequence[str]:
        return study.targets

    def predict(self, study: Study, folder: Path, model: Model, target: str) -> None:
        draws = PAPER_DRAWS if model.schema.diffusion.shared_time else 0
        settings = {"steps": PAPER_STEPS} if draws else {"evaluations": EVALUATIONS}
        answer = model.answer(study.test_table(), target, study.others(target), draws=draws, **settings)  # type: ignore[arg-type]
        if target in _binary(study.model.schema):
            study.write(folder, target, _probabilities(answer, target))
        else:
            study.write_table(folder, target, answer.table(vote=draws > 0))


def _binary(schema: Schema) -> list[str]:
    return [
        name
        for name, variable in schema.variables.items()
        if variable.parts.kernel.is_categorical and len(variable.spec.label_codes()) == 2
    ]


def _as_number(schema: Schema, variable: Variable) -> Variable:
    """Return the variable as a number with the kernel and scale of the schema's first number.

    An adapter that the schema chose is kept; the default one may be for categories alone.
    """
    spec = ScalarLabelSpec.of(variable.spec)
    codec, kernel, adapter = spec.parts()
    if variable.parts.adapter != variable.spec.parts().adapter:
        adapter = variable.parts.adapter
    for other in schema.variables.values():
        if other.parts.codec.type == codec.type:
            scale = other.parts.codec.model_dump()["scale"]
            kernel, codec = other.parts.kernel, codec.model_copy(update={"scale": scale})
            break
    return Variable(spec, Parts(codec, kernel, adapter))


def _with_variables(schema: Schema, variables: Mapping[str, Variable]) -> Schema:
    """Replace the variables of a schema, and remove settings that name removed or changed variables."""
    split = schema.cohort.split.model_copy(update={"stratify": []})
    predictors = [name for name in schema.training.missing_weights if name in variables]
    questions = [question for question in schema.training.questions if {*question} < {*variables}]
    training: dict[str, object] = {"missing_weights": predictors, "questions": questions}
    if not questions:
        training["question_share"] = TrainingSettings().question_share
    factors = schema.diffusion.factors if {*variables} == {*schema.variables} else []  # factors of a subset may differ
    return replace(
        schema,
        variables=variables,
        cohort=schema.cohort.model_copy(update={"split": split}),
        diffusion=schema.diffusion.model_copy(update={"factors": factors}),
        training=schema.training.model_copy(update=training),
    )


def _probabilities(answer: Answer, target: str) -> Float[Tensor, "b 2"]:
    """Return label probabilities from the posterior mean, or from the shares of draws on either side of 0."""
    codec = answer.codecs[target]
    with torch.inference_mode():
        if answer.draws:
            second = torch.stack([(codec.decode(draw.codes[target]) > 0).float() for draw in answer.draws]).mean(0)
        else:
            second = ((1 + codec.decode(answer.means[target])) / 2).clamp(0, 1)
    second = second.cpu()
    return torch.stack([1 - second, second], 1)


def _device(study: Study) -> torch.device:
    """Return the device for sampling and prediction."""
    cuda = study.settings.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")
