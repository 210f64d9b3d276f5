"""Hypothesis strategies for valid schemas."""

import math
from typing import Any, TypeAlias

from hypothesis import strategies as st

from metavoxel.schema.missing import MissingCodes

Settings: TypeAlias = dict[str, Any]
"""Plain data, as loaded from YAML."""


@st.composite
def schemas(draw: st.DrawFn) -> Settings:
    """Draw schemas as plain data: one to four variables of built-in types with compatible settings.

    ``parse_schema`` accepts each; files that they name do not exist. ``optimiser: muon`` is excluded, as its
    availability depends on the installed PyTorch.
    """
    # Without s and p, no name is "sample", "participant_id" or a column of prediction tables such as "age_sd".
    identifiers = st.text("abcT019_é", min_size=1, max_size=5).filter(lambda name: name.replace("_", "").isalnum())
    names = draw(st.lists(identifiers, min_size=1, max_size=4, unique=True))
    grids, shared = draw(st.booleans()), draw(st.booleans())
    scalars = _continuous(grids) | _categorical(grids)
    first, others = (_images(), _images() | scalars) if grids else (scalars, scalars)
    specs = draw(st.tuples(first, *[others] * (len(names) - 1)))
    # A text listed as missing cannot be a label.
    labels = [str(text) for spec in specs for text in _labels(spec)]
    sections = {
        "cohort": draw(_cohorts(st.sampled_from(names), labels)),
        "variables": dict(draw(st.permutations(list(zip(names, specs, strict=True))))),
        "backbone": draw(_backbones(grids)),
        "diffusion": {"times": "shared"} if shared else {},
        "training": draw(_trainings(st.sampled_from(names), len(names), shared)),
    }
    if not grids and sections["backbone"].get("type") != "mlp" and draw(st.booleans()):
        middle = draw(st.integers(1, len(names)))
        sections["diffusion"] |= {"factors": [names[:middle], names[middle - 1 :]]}
    return {name: section for name, section in sections.items() if section}


def _cells() -> st.SearchStrategy[str]:
    """Printable table cells, including texts that YAML parses as another type."""
    ambiguous = st.sampled_from(("no", "null", "~", "1e3", "1:30", "2001-01-01", "a: b", "# 1"))
    return ambiguous | st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=4)


def _rising(low: float, high: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(low, high), min_size=2, max_size=2, unique=True).map(sorted)


def _fractions() -> st.SearchStrategy[float]:
    return st.floats(0, 0.99)


def _positive() -> st.SearchStrategy[float]:
    return st.floats(1e-6, 1e6)


def _counts() -> st.SearchStrategy[int]:
    return st.integers(1, 10**6)


def _some(names: st.SearchStrategy[str], least: int = 0, most: int | None = None) -> st.SearchStrategy[list[str]]:
    return st.lists(names, min_size=least, max_size=most, unique=True)


def _schedules(*, signal_left: bool) -> st.SearchStrategy[Settings]:
    tables = st.fixed_dictionaries(
        {"type": st.sampled_from(("linear", "scaled_linear"))},
        optional={"beta_start": st.floats(1e-5, 1e-3), "beta_end": st.floats(1e-2, 1e-1), "steps": _counts()},
    )
    cosines = st.fixed_dictionaries({"type": st.just("cosine")}, optional={"power": st.sampled_from((1, 2))})
    return tables if signal_left else tables | cosines


def _gaussian() -> st.SearchStrategy[str | Settings]:
    any_time = {"schedule": _schedules(signal_left=False), "prediction": st.sampled_from(("v", "x0"))}
    noise = {"schedule": _schedules(signal_left=True), "prediction": st.just("epsilon")}
    return st.just("gaussian") | st.fixed_dictionaries({}, optional=any_time) | st.fixed_dictionaries(noise)


def _d3pm() -> st.SearchStrategy[Settings]:
    settings = {"schedule": _schedules(signal_left=False), "reverse": st.sampled_from(("mixture", "printed"))}
    return st.fixed_dictionaries({"type": st.just("d3pm_uniform")}, optional=settings)


def _scalar_adapters(grids: bool) -> st.SearchStrategy[str | Settings]:
    tokens = st.fixed_dictionaries(
        {}, optional={"dropout": _fractions(), "baseline": st.booleans(), "alike": st.booleans()}
    )
    return tokens | st.just("painted") if grids else tokens


@st.composite
def _continuous(draw: st.DrawFn, grids: bool) -> Settings:
    transform = draw(st.sampled_from((None, "log", "quantile")))
    settings = draw(
        st.fixed_dictionaries(
            {"type": st.just("continuous")},
            optional={
                "column": _cells(),
                "weight": _positive(),
                "unit": _cells(),
                "range": _rising(1e-3 if transform == "log" else -1e6, 1e6),
                "valid": _rising(float("-inf"), float("inf")),
                "kernel": _gaussian(),
                "adapter": _scalar_adapters(grids),
            },
        )
    )
    if transform == "quantile":
        return settings | {"transform": transform}
    scales = ("standard", "range") if "range" in settings else ("standard",)
    # A null in a part overrides the default that the variable sets for it.
    nulls = {"transform": st.none()} if transform else {}
    codec = draw(st.fixed_dictionaries({}, optional={"scale": st.sampled_from(scales), **nulls}))
    return settings | ({"codec": codec} if codec else {}) | ({"transform": transform} if transform else {})


def _categorical(grids: bool) -> st.SearchStrategy[Settings]:
    # Codes that are equal as numbers are rejected, and labels of a list are their own codes.
    labels = st.lists(_cells() | st.integers(0, 99), min_size=2, max_size=6, unique_by=_as_number)
    coded = labels.flatmap(
        lambda drawn: st.permutations(range(len(drawn))).map(
            lambda codes: dict(zip(map(str, drawn), codes, strict=True))
        )
    )
    return st.fixed_dictionaries(
        {"type": st.just("categorical"), "categories": labels | coded},
        optional={
            "column": _cells(),
            "weight": _positive(),
            "valid": _rising(float("-inf"), float("inf")),
            "kernel": _d3pm(),
            "adapter": _scalar_adapters(grids),
        },
    )


def _labels(spec: Settings) -> list[str | int]:
    """Return the labels of a category and their codes; empty for other variables."""
    categories = spec.get("categories", [])
    return [*categories, *categories.values()] if isinstance(categories, dict) else categories


def _as_number(label: str | int) -> str | float:
    try:
        return str(label) if math.isnan(float(label)) else float(label)
    except ValueError:
        return str(label)


def _images() -> st.SearchStrategy[Settings]:
    sources = st.sampled_from(
        (
            {},
            {"column": "T1 file"},
            {"path": "{id}/scan.nii.gz"},
            {"entities": {"suffix": "T2w", "run": 1, "rec": None}},
        )
    )
    autoencoders = st.fixed_dictionaries(
        {"type": st.just("kl_vae")},
        optional={
            "downsampling": st.sampled_from((2, 4, 8, 16)),
            "latent_channels": _counts(),
            "kl_weight": _fractions(),
        },
    )
    summaries = st.fixed_dictionaries({}, optional={"components": _counts(), "dropout": _fractions()})
    settings = st.fixed_dictionaries(
        {"type": st.just("image")},
        optional={
            "weight": _positive(),
            "spacing": _positive(),
            "percentiles": _rising(0, 100),
            "shape": st.lists(st.integers(1, 256), min_size=2, max_size=3),
            "shifts": st.integers(0, 4),
            "flip": st.booleans(),
            "codec": st.just("identity") | autoencoders,
            "kernel": _gaussian(),
            "adapter": st.just("grid") | summaries,
        },
    )
    return st.builds(dict.__or__, settings, sources)


def _backbones(grids: bool) -> st.SearchStrategy[Settings]:
    """Backbone settings, or an empty mapping for the default backbone."""
    if grids:
        widths = st.lists(st.sampled_from((8, 24, 32)), min_size=1, max_size=3)
        levels = widths.flatmap(
            lambda drawn: st.fixed_dictionaries(
                {"channels": st.just(drawn), "attention_levels": st.sets(st.integers(0, len(drawn) - 1)).map(sorted)}
            )
        )
        fusion = st.fixed_dictionaries({}, optional={"token_layers": st.integers(0, 4), "dropout": _fractions()})
        return st.builds(dict.__or__, levels | st.just({}), fusion)
    layers = {"depth": st.integers(1, 8), "dropout": _fractions()}
    transformers = st.builds(
        lambda heads, channels, rest: {"heads": heads, "width": heads * channels, **rest},
        st.integers(1, 8),
        st.integers(1, 64),
        st.fixed_dictionaries({}, optional={"type": st.just("transformer"), **layers}),
    )
    mlps = st.fixed_dictionaries({"type": st.just("mlp")}, optional={"width": _counts(), **layers})
    return st.just({}) | transformers | mlps


@st.composite
def _cohorts(draw: st.DrawFn, names: st.SearchStrategy[str], labels: list[str]) -> Settings:
    """Draw a table or a BIDS folder, split at random or by a column; no label counts as missing."""
    train = draw(st.integers(1, 98))
    validation = draw(st.integers(1, 99 - train))
    shares = {"train": train / 100, "validation": validation / 100, "test": (100 - train - validation) / 100}
    split = st.fixed_dictionaries({}, optional={"seed": _counts(), "stratify": _some(names), "column": _cells()})
    codes = (_cells() | st.integers(-999, 9)).filter(
        lambda code: not any(map(MissingCodes([str(code)]).__contains__, labels))
    )
    missing = st.lists(codes, max_size=3)
    folder = {"bids": "study", "participants": "../tables/subjects.tsv"}
    source = draw(
        st.sampled_from(({"table": "subjects.csv"}, {"table": "../tables/subjects.tsv"}, {"bids": "study"}, folder))
    )
    rest = draw(
        st.fixed_dictionaries({}, optional={"missing": missing, "split": split.map(lambda drawn: shares | drawn)})
    )
    return source | rest


@st.composite
def _trainings(draw: st.DrawFn, names: st.SearchStrategy[str], count: int, shared: bool) -> Settings:
    """Draw optimiser settings and, with a separate time per variable, settings of time and evidence sampling."""
    settings = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "steps": _counts(),
                "batch_size": _counts(),
                "token_rows": st.integers(0, 64),
                "learning_rate": _positive(),
                "weight_decay": _fractions(),
                "clip": _positive(),
                "ema": _fractions(),
                "seed": st.integers(0, 2**63 - 1),
            },
        )
    )
    if shared:
        return settings
    settings |= draw(st.fixed_dictionaries({}, optional={"time_power": _positive()}))
    if draw(st.booleans()):
        return settings | {"missing_weights": draw(_some(names))}
    settings |= draw(st.fixed_dictionaries({}, optional={"draw_share": _fractions()}))
    if count == 1 or draw(st.booleans()):
        return settings
    questions = st.lists(_some(names, 1, count - 1), min_size=1, max_size=3)
    return settings | {"questions": draw(questions), "question_share": draw(_fractions())}
