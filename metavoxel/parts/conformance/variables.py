"""Conformance checks of variable types."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.parts.conformance.checks import Check, bound
from metavoxel.parts.conformance.settings import SETTINGS_CHECKS
from metavoxel.parts.conformance.statistics import assert_equal, assert_finite, assert_shape
from metavoxel.parts.variables.base import AbstractVariableSpec, Missing, Recorded
from metavoxel.parts.variables.column import Column

EXTREME_CELLS = (
    "", " ", "nan", "NaN", "inf", "-inf", "1e400", "-1e308", "1e308", "1e-320", "0", "-0", "-1", "0x10", "1,5", "1_000",
    "true", "n/a", "no such thing", "\u0663", "\x00", "/", "..", "x" * 10_000,
)  # fmt: skip
"""Unusual cells that a table may contain."""


def variable_checks(spec: AbstractVariableSpec, cells: Sequence[str]) -> Iterator[Check]:
    """Yield all checks of a variable type.

    Args:
        spec: settings as given in a schema; settings that depend on the cohort are resolved from ``cells``.
        cells: at least two readable cells, not all equal: numbers, labels or file paths.
    """
    subject = spec.type
    for check in SETTINGS_CHECKS:
        yield bound(subject, check, spec)
    for cell_check in CHECKS:
        yield bound(subject, cell_check, spec, cells)


def _resolved(spec: AbstractVariableSpec, cells: Sequence[str]) -> AbstractVariableSpec:
    return spec.resolve(cells, multiple=spec.parts().codec.grid_multiple())


def _value(spec: AbstractVariableSpec, cell: str) -> Tensor:
    value = spec.parse(cell)
    assert not isinstance(value, Missing), f"cell {cell!r}, passed as readable, is missing: {value.rule}"
    return value


def _fitted(spec: AbstractVariableSpec, values: Tensor) -> AbstractCodec:
    codec = spec.parts().codec.build(spec.data_shape).eval()
    codec.fit(lambda: [values])
    return codec


def check_parts_agree(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that codec and kernel have the same support, and that the adapter suits the shape of the code."""
    spec = _resolved(spec, cells)
    codec_spec, kernel, adapter = spec.parts()
    codec = codec_spec.build(spec.data_shape)
    assert codec.support == kernel.support, (
        f"codec {codec_spec.type!r} gives {codec.support} code, but kernel {kernel.type!r} needs {kernel.support} code"
    )
    spatial = len(codec.code_shape) > 1
    problems = [*kernel.problems(), *adapter.problems(spatial=spatial, grids=spatial)]
    assert not problems, f"the parts report: {'; '.join(problems)}"


def check_resolve_keeps(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that ``resolve`` returns a valid spec of the same type and is idempotent."""
    multiple = spec.parts().codec.grid_multiple()
    once = spec.resolve(cells, multiple=multiple)
    assert type(once) is type(spec), f"resolve returns a {type(once).__name__}"
    read = type(once).model_validate_json(once.model_dump_json())
    assert read == once, "the resolved settings change in a round trip through JSON"
    assert once.resolve(cells, multiple=multiple) == once, "resolving a second time changes the settings"


def check_cells_parse(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that readable cells are parsed deterministically to finite values of the stated shape."""
    spec = _resolved(spec, cells)
    for cell in cells:
        value = _value(spec, cell)
        assert_shape(value, spec.data_shape, f"value of cell {cell!r}")
        assert_finite(value, f"value of cell {cell!r}")
        assert_equal(_value(spec, cell), value, f"value of cell {cell!r} a second time")


def check_values_encode(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that the codec encodes parsed values, and decodes them to values of the same shape within tolerance."""
    spec = _resolved(spec, cells)
    values = torch.stack([_value(spec, cell) for cell in cells])
    codec = _fitted(spec, values)
    with torch.no_grad():
        codes = codec.encode(values).mean
        decoded = codec.decode(codes)
    assert_shape(codes, (len(cells), *codec.held_shape), "the code")
    assert_finite(codes, "the code")
    assert_shape(decoded, tuple(values.shape), "the decoded values")
    if codec.tolerance < float("inf"):
        assert_equal(decoded, values, "decoded values", tolerance=codec.tolerance)


def check_format_parses(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that a formatted value parses to the same value, up to the digits shown; lazy types are exempt."""
    spec = _resolved(spec, cells)
    for cell in cells:
        value = _value(spec, cell)
        shown = spec.format(value)
        assert str(shown), f"cell {cell!r} is formatted as an empty text"
        assert not spec.is_text or isinstance(shown, str), f"cell {cell!r} is a text, and formatted as {shown!r}"
        if not spec.lazy:
            again = _value(spec, str(shown))
            close = 1e-5 * float(value.double().abs().max()) if value.is_floating_point() else 0.0
            assert_equal(again, value, f"cell {cell!r}, formatted as {shown!r} and parsed again", tolerance=close)


def check_extreme_cells(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that any text gives a finite value with a finite code, a ``Missing`` with a rule, or a ``ValueError``.

    The error must have a message.
    """
    spec = _resolved(spec, cells)
    codec = _fitted(spec, torch.stack([_value(spec, cell) for cell in cells]))
    for cell in EXTREME_CELLS:
        shown = repr(cell if len(cell) < 30 else f"{cell[:10]}... ({len(cell)} characters)")
        value = _attempt(spec.parse, cell, shown)
        if isinstance(value, Missing):
            assert value.rule, f"cell {shown} is missing without a rule"
        elif value is not None:
            assert_shape(value, spec.data_shape, f"value of cell {shown}")
            assert_finite(value, f"value of cell {shown}")
            with torch.no_grad():
                assert_finite(codec.encode(value[None]).mean, f"code of cell {shown}")


def _attempt(parse: Callable[[str], Tensor | Missing], cell: str, shown: str) -> Tensor | Missing | None:
    try:
        return parse(cell)
    except ValueError as error:
        assert str(error), f"cell {shown} is rejected without a message"
        return None
    except Exception as error:
        raise AssertionError(
            f"cell {shown}: {type(error).__name__} ({error}) where a ValueError is expected"
        ) from error


def check_locates_column(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that ``locate`` raises a ``KeyError`` with the name of a column that the table lacks."""
    spec = _resolved(spec, cells)
    try:
        spec.locate("a variable", {"another column": "1"}, Path("."))
    except KeyError as error:
        assert error.args and isinstance(error.args[0], str), "the KeyError does not name the column"


def check_bounds_hold(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that values and codes lie within ``bounds``, and that cells beyond are missing or rejected.

    Types without bounds pass.
    """
    spec = _resolved(spec, cells)
    bounds = spec.bounds()
    if bounds is None:
        return
    low, high = bounds
    assert low < high, f"bounds {bounds} are not increasing"
    values = torch.stack([_value(spec, cell) for cell in cells])
    codec = _fitted(spec, values)
    assert tuple(codec.code_shape) == (1,), f"bounds require a code of one number, not of shape {codec.code_shape}"
    for cell in [*cells, *EXTREME_CELLS]:
        value = _attempt(spec.parse, cell, repr(cell[:30]))
        if isinstance(value, Tensor):
            margin = 1e-6 * abs(float(value))
            assert low - margin <= float(value) <= high + margin, f"cell {cell!r} is {float(value)}, beyond {bounds}"
    for limit, sign in zip(bounds, (-1.0, 1.0), strict=True):
        if math.isfinite(limit):
            cell = repr(limit + sign * max(abs(limit), 1.0) / 1000)
            value = _attempt(spec.parse, cell, cell)
            assert not isinstance(value, Tensor), f"cell {cell} lies beyond {bounds}, but is parsed to a value"
    with torch.no_grad():
        code_bounds, codes = codec.encode(torch.tensor(bounds)).mean, codec.encode(values).mean
    if not code_bounds.isnan().any():
        within = (codes >= code_bounds.min()) & (codes <= code_bounds.max())
        assert within.all(), f"codes of {list(cells)} are not all between those of {bounds}: the codec is not monotone"


def check_classes_match(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that a code of one label has a class for each label, and as many as the codec's settings give."""
    spec = _resolved(spec, cells)
    settings = spec.parts().codec
    codec = settings.build(spec.data_shape)
    classes = codec.code_shape[0] if codec.is_label else None
    if settings.classes is not None:
        assert settings.classes == classes, f"the codec's settings give {settings.classes} classes, its code {classes}"
    labels = spec.label_codes()
    if labels and classes is not None:
        assert len(labels) == classes, f"label_codes() has {len(labels)} labels, and the code {classes} classes"
        with torch.no_grad():
            shown = [str(spec.format(value)) for value in codec.decode(torch.eye(classes))]
        assert shown == list(labels), f"the classes are formatted as {shown}, and label_codes() has {list(labels)}"


def check_standardised_codes(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that codes of a codec that claims to standardise are small, as a code of 6 counts as beyond all rows."""
    spec = _resolved(spec, cells)
    if spec.parts().codec.is_standardised:
        values = torch.stack([_value(spec, cell) for cell in cells])
        with torch.no_grad():
            largest = float(_fitted(spec, values).encode(values).mean.abs().max())
        assert largest <= 6, (
            f"a code of the rows that the codec is fitted to is {largest:.3g}, where at most 6 is expected"
        )


def check_cohort_texts(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that the summary and the warnings about the values of a cohort are texts."""
    spec = _resolved(spec, cells)
    values = torch.stack([_value(spec, cell) for cell in cells])
    column = Column(torch.ones(len(cells), dtype=torch.bool), list(cells), values)
    summary = spec.summary(column)
    found = [] if summary is None else [summary.text("mm"), summary.text("")]
    if spec.lazy:
        found += spec.file_warnings(column, {"itself": Recorded(spec, column)})
    elif not spec.data_shape and values.is_floating_point():
        found += spec.value_warnings(values)
    for text in found:
        assert isinstance(text, str) and text, f"a summary or warning is {text!r}, where a text is expected"


def check_measures(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that measures are finite functions of sums over independent rows, best for equal values.

    Types without measures pass.
    """
    spec = _resolved(spec, cells)
    texts = [str(spec.format(_value(spec, cell))) for cell in cells]
    measures = spec.measures()
    names = [measure.name for measure in measures]
    assert len(set(names)) == len(names) and all(names), f"the names of measures are not distinct: {names}"
    for measure in measures:
        turned = texts[1:] + texts[:1]
        found, right = measure.statistics(turned, texts), measure.statistics(texts, texts)
        assert found.ndim == 2 and len(found) == len(texts), f"{measure.name}: statistics have shape {found.shape}"
        rows = [measure.statistics([one], [true])[0] for one, true in zip(turned, texts, strict=True)]
        assert all((row == part).all() for row, part in zip(rows, found, strict=True)), (
            f"{measure.name}: statistics of a row depend on the other rows"
        )
        values = [measure.value(part.sum(0)) for part in (found, right, found[:1])]
        assert all(map(math.isfinite, values)), f"{measure.name}: the values {values} are not all finite"
        worse, best = (values[0], values[1]) if measure.higher_is_better else (values[1], values[0])
        assert worse <= best, f"{measure.name}: other values have {values[0]}, and equal ones {values[1]}"


def check_voxels(spec: AbstractVariableSpec, cells: Sequence[str]) -> None:
    """Check that a spatial type has masks of the value's shape, and images on the model's grid; others are exempt."""
    spec = _resolved(spec, cells)
    if not spec.spatial:
        return
    value = _value(spec, cells[0])
    inside = spec.inside(cells[0])
    assert inside.dtype == torch.bool, f"inside() is {inside.dtype}, expected torch.bool"
    assert_shape(inside, spec.data_shape, "inside()")
    assert_shape(spec.rescaled(value), spec.data_shape, "rescaled()")
    image = spec.to_nifti(value)
    grid = spec.data_shape[1:]
    assert tuple(image.shape[: len(grid)]) == grid, f"to_nifti() has shape {image.shape}, and the model's grid {grid}"
    assert bool(torch.tensor(image.affine).isfinite().all()), "the affine of to_nifti() is not finite"


CHECKS = (
    check_parts_agree,
    check_resolve_keeps,
    check_cells_parse,
    check_values_encode,
    check_format_parses,
    check_extreme_cells,
    check_locates_column,
    check_bounds_hold,
    check_classes_match,
    check_standardised_codes,
    check_cohort_texts,
    check_measures,
    check_voxels,
)
"""Checks of all variable types, in addition to ``SETTINGS_CHECKS``."""
