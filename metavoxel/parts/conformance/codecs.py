"""Conformance checks of codecs."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from typing import TypeAlias

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.parts.conformance.checks import Check
from metavoxel.parts.conformance.statistics import assert_differs, assert_equal, assert_finite, assert_shape
from metavoxel.parts.indices import NO_CLASS, one_hot
from metavoxel.rng import Rng
from metavoxel.typing import Code

Data: TypeAlias = Shaped[Tensor, "b *d"]


def codec_checks(codec: AbstractCodec, samples: Data) -> Iterator[Check]:
    """Yield all checks of a codec.

    Args:
        codec: as built. It is not modified: the checks use a copy, fitted to ``samples``.
        samples: complete data of at least 4 rows, not all equal.
    """

    @cache
    def fitted() -> AbstractCodec:
        copy = deepcopy(codec).eval()
        copy.fit(lambda: [samples])
        return copy

    def check_of(function: Callable[[AbstractCodec, Data], None]) -> Check:
        return Check(function.__name__, type(codec).__name__, lambda: function(fitted(), samples))

    yield from map(check_of, CHECKS)


def _encode(codec: AbstractCodec, samples: Data) -> Code:
    with torch.no_grad():
        return codec.encode(samples).mean


def _decode(codec: AbstractCodec, codes: Code) -> Data:
    with torch.no_grad():
        return codec.decode(codes)


def check_code_shape(codec: AbstractCodec, samples: Data) -> None:
    """Check the shapes of the mean code and, if given, of its standard deviation."""
    with torch.no_grad():
        mean, sd = codec.encode(samples)
    assert_shape(mean, (len(samples), *codec.held_shape), "encode(...).mean against code_shape")
    if sd is not None:
        assert_shape(sd, tuple(mean.shape), "encode(...).sd")
        assert bool((sd >= 0).all()), "encode(...).sd is negative somewhere"


def check_code_precision(codec: AbstractCodec, samples: Data) -> None:
    """Check that codes are finite float32, or int64 indices, and decode to floating-point data exactly if data are."""
    precision = torch.int64 if codec.indexed else torch.float32
    with torch.no_grad():
        encoded = codec.encode(samples)
    for name, code in zip(encoded._fields, encoded, strict=True):
        if code is not None:
            assert code.dtype == precision, f"encode(...).{name} is {code.dtype}, expected {precision}"
            assert_finite(code, f"encode(...).{name}")
    decoded = _decode(codec, encoded.mean)
    assert decoded.is_floating_point() == samples.is_floating_point(), (
        f"data in {samples.dtype} are decoded to {decoded.dtype}"
    )


def check_support(codec: AbstractCodec, samples: Data) -> None:
    """Check that the support is a non-empty string, and that codes of support "one_hot" are one-hot."""
    assert isinstance(codec.support, str) and codec.support, (
        "support must be a non-empty string, equal to that of the kernel"
    )
    if codec.indexed:
        assert codec.is_categorical, "codes held as indices have support 'one_hot'"
        assert len(codec.code_shape) > 1, "a code held as indices has a grid; one label is one-hot"
    elif codec.is_categorical:
        code = _encode(codec, samples)
        assert bool(((code == 0) | (code == 1)).all()), "a one-hot code has values other than 0 and 1"
        assert_equal(code.sum(1), torch.ones_like(code.sum(1)), "sum of a one-hot code over its channels")


def check_indices(codec: AbstractCodec, samples: Data) -> None:
    """Check that indices are classes, decode as their one-hot codes do, and that no class decodes to finite data.

    Codecs whose codes are not held as indices pass.
    """
    if not codec.indexed:
        return
    code, classes = _encode(codec, samples), codec.code_shape[0]
    least, most = int(code.min()), int(code.max())
    assert least >= 0 and most < classes, f"indices are between {least} and {most}, and there are {classes} classes"
    decoded = _decode(codec, code)
    close = 1e-4 * (1 + float(decoded.abs().max()))
    assert_equal(decoded, _decode(codec, one_hot(code[:, 0], classes)), "decode of indices", tolerance=close)
    if decoded.is_floating_point():
        assert_finite(_decode(codec, torch.full_like(code, NO_CLASS)), "decode of no class, -1")


def check_codes_differ(codec: AbstractCodec, samples: Data) -> None:
    """Check that different data have different codes."""
    assert bool((samples != samples[:1]).any()), "the samples passed to the check are all equal"
    code = _encode(codec, samples)
    assert_differs(code, code[:1].expand_as(code), "all samples have the same code")


def check_round_trip(codec: AbstractCodec, samples: Data) -> None:
    """Check that ``decode(encode(x))`` equals x within the stated tolerance."""
    assert codec.tolerance >= 0, f"tolerance is {codec.tolerance}"
    decoded = _decode(codec, _encode(codec, samples))
    assert_shape(decoded, tuple(samples.shape), "decode(encode(x))")
    if decoded.is_floating_point():
        assert_finite(decoded, "decode(encode(x))")
    if codec.tolerance < float("inf"):
        assert_equal(decoded, samples, "decode(encode(x)) against x", tolerance=codec.tolerance)


def check_decodes_any_code(codec: AbstractCodec, samples: Data) -> None:
    """Check that arbitrary codes, as generated by samplers, decode to finite data."""
    shape = (len(samples), *codec.code_shape)
    for scale in (0.0, 1.0, 4.0):
        decoded = _decode(codec, scale * Rng.for_rows(len(samples), "any code").normal(shape))
        assert_shape(decoded, tuple(samples.shape), "decode")
        if decoded.is_floating_point():
            assert_finite(decoded, f"decode of a code of standard deviation {scale:g}")


def check_rows_independent(codec: AbstractCodec, samples: Data) -> None:
    """Check that ``encode`` and ``decode`` are independent of the other rows of a batch."""
    codes = _encode(codec, samples)
    decoded = _decode(codec, codes)
    for row in range(len(samples)):
        one = slice(row, row + 1)
        close = 1e-4 * (1 + float(codes.abs().max()))
        assert_equal(_encode(codec, samples[one]), codes[one], f"encode: row {row} alone", tolerance=close)
        close = 1e-4 * (1 + float(decoded.abs().max()))
        assert_equal(_decode(codec, codes[one]), decoded[one], f"decode: row {row} alone", tolerance=close)


def check_deterministic(codec: AbstractCodec, samples: Data) -> None:
    """Check that ``encode`` and ``decode`` are deterministic; only ``Encoded.draw`` is random."""
    first, second = (_encode(codec, samples) for _ in range(2))
    assert_equal(second, first, "encode a second time")
    assert_equal(_decode(codec, first), _decode(codec, first), "decode a second time")


def check_inputs_unchanged(codec: AbstractCodec, samples: Data) -> None:
    """Check that no input is modified in place."""
    data = samples.clone()
    codes = _encode(codec, data)
    before = codes.clone()
    _decode(codec, codes)
    deepcopy(codec).fit(lambda: [data])
    assert_equal(data, samples, "the data after use")
    assert_equal(codes, before, "the code after decoding")


def check_state_round_trip(codec: AbstractCodec, samples: Data) -> None:
    """Check that ``state_dict`` holds all fitted values: loading it into another codec reproduces its outputs."""
    half = samples[: len(samples) // 2]
    source, other = deepcopy(codec), deepcopy(codec)
    source.fit(lambda: [samples])
    other.fit(lambda: [half])
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(source.state_dict())
    codes = _encode(source, samples)
    assert_equal(_encode(other, samples), codes, "encode after loading the state", tolerance=1e-6)
    decoded = _decode(source, codes)
    close = 1e-6 * (1 + float(decoded.abs().max()))
    assert_equal(_decode(other, codes), decoded, "decode after loading the state", tolerance=close)


def _known(samples: Data, fraction: float) -> Bool[Tensor, "b *d"]:
    """Mark a leading fraction of the first spatial axis as known; of scalars, a fraction of the rows."""
    known = torch.zeros(samples.shape, dtype=torch.bool)
    axis = 2 if samples.ndim > 2 else 0
    known.narrow(axis, 0, round(samples.shape[axis] * fraction)).fill_(True)
    return known


def check_partial_conservative(codec: AbstractCodec, samples: Data) -> None:
    """Check that ``encode_partial`` marks as reliable only cells that do not depend on the unknown data.

    A codec that does not implement ``encode_partial`` passes.
    """
    try:
        with torch.no_grad():
            codec.encode_partial(samples, torch.ones_like(samples, dtype=torch.bool))
    except NotImplementedError:
        return
    complete = _encode(codec, samples)
    cells = (len(samples), 1, *codec.code_shape[1:])
    previous = torch.zeros(cells, dtype=torch.bool)
    nan = [torch.full_like(samples, torch.nan)] if samples.is_floating_point() else []
    for fraction in (0.0, 0.5, 1.0):
        known = _known(samples, fraction)
        hidden = ~known
        codes = []
        for other in (samples, samples.flip(0), *nan):
            with torch.no_grad():
                encoded, reliable = codec.encode_partial(torch.where(hidden, other, samples), known)
            assert_shape(encoded.mean, tuple(complete.shape), "encode_partial(...)[0].mean")
            assert_shape(reliable, cells, "encode_partial(...)[1]")
            assert reliable.dtype == torch.bool, f"encode_partial(...)[1] is {reliable.dtype}, expected torch.bool"
            codes.append(torch.where(reliable, encoded.mean, 0))
        what = f"encode_partial with {fraction:.0%} known"
        for code in codes[1:]:
            assert_equal(code, codes[0], f"{what}: reliable codes after changing unknown data", tolerance=1e-6)
        if codec.tolerance < float("inf"):
            expected = torch.where(reliable, complete, 0)
            assert_equal(codes[0], expected, f"{what}: reliable codes against those of complete data", tolerance=1e-5)
        assert bool((reliable | ~previous).all()), f"{what}: fewer cells are reliable although more data are known"
        assert fraction > 0 or not bool(reliable.any()), f"{what}: some cells are marked as reliable"
        assert fraction < 1 or bool(reliable.all()), f"{what}: some cells are not marked as reliable"
        previous = reliable


CHECKS = (
    check_code_shape,
    check_code_precision,
    check_support,
    check_indices,
    check_codes_differ,
    check_round_trip,
    check_decodes_any_code,
    check_rows_independent,
    check_deterministic,
    check_inputs_unchanged,
    check_state_round_trip,
    check_partial_conservative,
)
"""Checks of all codecs."""
