"""A pretrained language model as the network shared by all variables."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional

from metavoxel.errors import Problem, RunError
from metavoxel.parts.adapters.base import BackboneOutputs, Ports, Streams
from metavoxel.parts.backbones.base import AbstractBackbone, AbstractBackboneSpec, TrainingPlan
from metavoxel_language.config import LlamaConfig
from metavoxel_language.decoder import MODULATIONS, Decoder, Trained
from metavoxel_language.example import example_folder
from metavoxel_language.folder import ModelFolder


class CausalLM(AbstractBackbone):
    """Pretrained decoder layers over the tokens of all variables, in the order of the schema. Final.

    A first token is the embedding of the begin of a text plus a linear function of the time embedding. Tokens follow at
    positions 1, 2, ...: neighbouring words are neighbours, as in pretraining. A language model's output at a position
    is for the *next* token. So the output for a token is a linear function of two hidden states, that before it and its
    own, added to the token itself.
    """

    def __init__(self, spec: "CausalLMSpec", config: LlamaConfig) -> None:
        super().__init__()
        width, hidden = spec.width, config.hidden_size
        self.ports = Ports(grids={}, grid_width=width, bottleneck_width=width, token_width=width, time_width=width)
        layers = spec.layers or config.num_hidden_layers
        self.decoder = Decoder(config, layers, spec.train, spec.rank)
        self.in_proj, self.out_proj = nn.Linear(width, hidden), nn.Linear(2 * hidden, width)
        self.begin, self.time_token = nn.Parameter(torch.zeros(hidden)), nn.Linear(width, hidden)
        self.modulations = nn.ModuleList([nn.Linear(width, MODULATIONS * hidden) for _ in range(layers)])
        for linear in (self.time_token, *self.modulations):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    @torch.no_grad()
    def load(self, folder: ModelFolder, config: LlamaConfig) -> None:
        """Load the decoder's weights, and initialise the inputs in the scale of the word embeddings."""
        own = {**dict(self.decoder.named_parameters()), **dict(self.decoder.named_buffers())}
        names = {name for name, _ in config.tensors(len(self.decoder.layers))}
        for name, tensor in folder.read(names):
            own[name].copy_(tensor)
        begin, size = folder.embeddings(config.bos_token_id)
        self.begin.copy_(begin)
        nn.init.normal_(self.in_proj.weight, std=size / self.in_proj.in_features**0.5)
        nn.init.zeros_(self.in_proj.bias)

    def forward(self, streams: Streams, time_embedding: Float[Tensor, "b w"]) -> BackboneOutputs:
        assert streams.tokens is not None
        first = self.begin + self.time_token(time_embedding)
        hidden = torch.cat([first[:, None], self.in_proj(streams.tokens)], 1)
        time = functional.silu(time_embedding)[:, None]
        hidden = self.decoder(hidden, [modulation(time) for modulation in self.modulations])
        outputs = self.out_proj(torch.cat([hidden[:, 1:], hidden[:, :-1]], -1))
        return BackboneOutputs({}, {}, streams.tokens + outputs)


class CausalLMSpec(AbstractBackboneSpec):
    """Settings of a pretrained language model (Llama, SmolLM2), for schemas with texts and without grids.

    Its decoder layers are used, without the causal mask. Tokenizer, word embeddings and head are not: words are those
    of the text's codec, and enter and leave through its adapter.
    """

    type: Literal["causal_lm"] = "causal_lm"
    folder: Path = Field(
        description="folder of the model in the format of transformers: config.json (model_type llama) and safetensors"
    )
    digest: str = Field(
        "",
        description="digest of the folder's content, filled in when the schema is read; another content is refused",
    )
    layers: PositiveInt | None = Field(None, description="number of the first layers that are used; by default all")
    train: Trained = Field(
        "lora",
        description="weights that are trained beside input and output layers and those of the time: 'all' of the "
        "model; 'lora' (of low rank, beside the model's); 'ends' (none of the model's)",
    )
    rank: PositiveInt = Field(8, description="rank of 'lora'")
    width: PositiveInt = Field(96, description="channels of a token outside the model")

    @classmethod
    def examples(cls) -> Sequence["CausalLMSpec"]:
        folder = example_folder()
        modes: tuple[Trained, ...] = ("all", "lora", "ends")
        return [cls(folder=folder, train=train, rank=2, width=8) for train in modes]

    @field_validator("folder")
    @classmethod
    def _from_the_schema(cls, path: Path, info: ValidationInfo) -> Path:
        """Resolve a relative path against the folder of the schema, if known."""
        return Path(os.path.abspath(info.context["folder"] / path)) if info.context else path

    @model_validator(mode="after")
    def _with_digest(self) -> "CausalLMSpec":
        if not self.digest:
            object.__setattr__(self, "digest", ModelFolder(self.folder).digest() or "")
        return self

    def problems(self, grids: dict[str, tuple[int, ...]]) -> list[str]:
        found = list(ModelFolder(self.folder).problems(self.layers))
        if grids:
            found.append("backbone 'causal_lm' has no port for images. Give them adapter 'sequence', or use 'unet'")
        return found

    def default_plan(self) -> TrainingPlan:
        rate = 1e-4 if self.train == "all" else 1e-3
        return TrainingPlan(steps=2000, batch_size=32, learning_rate=rate, time_power=2.0)

    def build(self, grids: dict[str, tuple[int, ...]]) -> CausalLM:
        """Build the backbone, and load its weights (not on the meta device).

        Raises:
            RunError: the folder cannot be read, or its content has changed.
        """
        folder = ModelFolder(self.folder)
        if found := list(folder.problems(self.layers)):
            raise RunError([Problem("backbone", problem) for problem in found])
        config = folder.config()
        backbone = CausalLM(self, config)
        if backbone.begin.is_meta:
            return backbone
        if (now := folder.digest()) != self.digest:
            what = (
                f"the content of {self.folder} has changed: its digest is {now}, and {self.digest} is recorded. "
                "Restore the folder, or train again without 'digest'"
            )
            raise RunError(Problem("backbone.digest", what))
        backbone.load(folder, config)
        return backbone
