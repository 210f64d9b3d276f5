"""Checks of codecs."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.rng import Rng
from metavoxel.testing.checks import Check
from metavoxel.testing.statistics import assert_differs, assert_equal, assert_finite, assert_shape

Data: TypeAlias = Shaped[Tensor, "b *d"]


def codec_checks(codec: AbstractCodec, samples: Data) -> Iterator[Check]:
    """All checks of a codec.

    Args:
        codec: as built; it stays as it is, for the checks work on copies that are fitted to the samples.
        samples: complete data of at least 4 rows, not all alike.
    """

    @cache
    def fitted() -> AbstractCodec:
        copy = deepcopy(codec).eval()
        copy.fit(lambda: [samples])
        return copy

    def check_of(function: Callable[[AbstractCodec, Data], None]) -> Check:
        return Check(function.__name__, type(codec).__name__, lambda: function(fitted(), samples))

    yield from map(check_of, CHECKS)


def _encode(codec: AbstractCodec, samples: Data) -> Float[Tensor, "b c *s"]:
    with torch.no_grad():
        return codec.encode(samples).mean


def _decode(codec: AbstractCodec, codes: Float[Tensor, "b c *s"]) -> Data:
    with torch.no_grad():
        return codec.decode(codes)


def check_code_shape(codec: AbstractCodec, samples: Data) -> None:
    """Codes have the stated shape, and their spread too where there is one."""
    with torch.no_grad():
        mean, sd = codec.encode(samples)
    assert_shape(mean, (len(samples), *codec.code_shape), "encode(...).mean against code_shape")
    if sd is not None:
        assert_shape(sd, tuple(mean.shape), "encode(...).sd")
        assert bool((sd >= 0).all()), "encode(...).sd is negative somewhere"


def check_code_precision(codec: AbstractCodec, samples: Data) -> None:
    """Codes are in single precision and finite, and decode to the data's own kind of number."""
    with torch.no_grad():
        encoded = codec.encode(samples)
    for name, code in zip(encoded._fields, encoded, strict=True):
        if code is not None:
            assert code.dtype == torch.float32, f"encode(...).{name} is {code.dtype}, expected torch.float32"
            assert_finite(code, f"encode(...).{name}")
    decoded = _decode(codec, encoded.mean)
    kinds = decoded.is_floating_point(), samples.is_floating_point()
    assert kinds[0] == kinds[1], f"data in {samples.dtype} are decoded to {decoded.dtype}"


def check_support(codec: AbstractCodec, samples: Data) -> None:
    """The support is a word, and the codes are of it."""
    assert isinstance(codec.support, str) and codec.support, "support has to be a word, the one that a kernel shares"
    if codec.support == "one_hot":
        code = _encode(codec, samples)
        assert bool(((code == 0) | (code == 1)).all()), "a one-hot code has other numbers than 0 and 1"
        assert_equal(code.sum(1), torch.ones_like(code.sum(1)), "sum of a one-hot code over its channels")


def check_tells_data_apart(codec: AbstractCodec, samples: Data) -> None:
    """Different data have different codes."""
    assert bool((samples != samples[:1]).any()), "the samples given to the check are all alike"
    code = _encode(codec, samples)
    assert_differs(code, code[:1].expand_as(code), "all samples have the same code")


def check_round_trip(codec: AbstractCodec, samples: Data) -> None:
    """Decoding what was encoded gives the data again, within the stated tolerance."""
    assert codec.tolerance >= 0, f"tolerance is {codec.tolerance}"
    decoded = _decode(codec, _encode(codec, samples))
    assert_shape(decoded, tuple(samples.shape), "decode(encode(x))")
    if decoded.is_floating_point():
        assert_finite(decoded, "decode(encode(x))")
    if codec.tolerance < float("inf"):
        assert_equal(decoded, samples, "decode(encode(x)) against x", tolerance=codec.tolerance)


def check_decodes_any_code(codec: AbstractCodec, samples: Data) -> None:
    """Codes that no data have, as samplers give them, are decoded to finite data."""
    shape = (len(samples), *codec.code_shape)
    for scale in (0.0, 1.0, 4.0):
        decoded = _decode(codec, scale * Rng.for_rows(len(samples), "any code").normal(shape))
        assert_shape(decoded, tuple(samples.shape), "decode")
        if decoded.is_floating_point():
            assert_finite(decoded, f"decode of a code of spread {scale:g}")


def check_rows_independent(codec: AbstractCodec, samples: Data) -> None:
    """A row's code, and what it decodes to, do not depend on its company."""
    codes = _encode(codec, samples)
    decoded = _decode(codec, codes)
    for row in range(len(samples)):
        one = slice(row, row + 1)
        close = 1e-4 * (1 + float(codes.abs().max()))
        assert_equal(_encode(codec, samples[one]), codes[one], f"encode: row {row} alone", tolerance=close)
        close = 1e-4 * (1 + float(decoded.abs().max()))
        assert_equal(_decode(codec, codes[one]), decoded[one], f"decode: row {row} alone", tolerance=close)


def check_deterministic(codec: AbstractCodec, samples: Data) -> None:
    """Encoding twice gives the same: a draw is the business of ``Encoded.draw``, and of its keys."""
    first, second = (_encode(codec, samples) for _ in range(2))
    assert_equal(second, first, "encode a second time")
    assert_equal(_decode(codec, first), _decode(codec, first), "decode a second time")


def check_inputs_unchanged(codec: AbstractCodec, samples: Data) -> None:
    """Nothing that a codec is given is written to."""
    data = samples.clone()
    codes = _encode(codec, data)
    before = codes.clone()
    _decode(codec, codes)
    deepcopy(codec).fit(lambda: [data])
    assert_equal(data, samples, "the data after use")
    assert_equal(codes, before, "the code after decoding")


def check_state_round_trip(codec: AbstractCodec, samples: Data) -> None:
    """All that ``fit`` learns is in ``state_dict``: a codec fitted elsewhere becomes the same by loading it."""
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


def _known(samples: Data, share: float) -> Bool[Tensor, "b *d"]:
    """Data known up to a share of their first spatial axis; of scalars, the first rows."""
    known = torch.zeros(samples.shape, dtype=torch.bool)
    axis = 2 if samples.ndim > 2 else 0
    known.narrow(axis, 0, round(samples.shape[axis] * share)).fill_(True)
    return known


def check_partial_conservative(codec: AbstractCodec, samples: Data) -> None:
    """Codes of partly known data: only cells that the unknown part cannot change are trusted.

    A codec that does not encode partly known data passes.
    """
    try:
        with torch.no_grad():
            codec.encode_partial(samples, torch.ones_like(samples, dtype=torch.bool))
    except NotImplementedError:
        return
    complete = _encode(codec, samples)
    cells = (len(samples), 1, *codec.code_shape[1:])
    less = torch.zeros(cells, dtype=torch.bool)
    nothing = [torch.full_like(samples, torch.nan)] if samples.is_floating_point() else []
    for share in (0.0, 0.5, 1.0):
        known = _known(samples, share)
        hidden = ~known
        codes = []
        for other in (samples, samples.flip(0), *nothing):
            with torch.no_grad():
                encoded, trusted = codec.encode_partial(torch.where(hidden, other, samples), known)
            assert_shape(encoded.mean, tuple(complete.shape), "encode_partial(...)[0].mean")
            assert_shape(trusted, cells, "encode_partial(...)[1]")
            assert trusted.dtype == torch.bool, f"encode_partial(...)[1] is {trusted.dtype}, expected torch.bool"
            codes.append(torch.where(trusted, encoded.mean, 0))
        what = f"encode_partial with {share:.0%} known"
        for code in codes[1:]:
            assert_equal(code, codes[0], f"{what}: trusted codes after changing unknown data", tolerance=1e-6)
        if codec.tolerance < float("inf"):
            expected = torch.where(trusted, complete, 0)
            assert_equal(codes[0], expected, f"{what}: trusted codes against those of complete data", tolerance=1e-5)
        assert bool((trusted | ~less).all()), f"{what}: cells lose trust as more becomes known"
        assert share > 0 or not bool(trusted.any()), f"{what}: cells are trusted"
        assert share < 1 or bool(trusted.all()), f"{what}: cells are not trusted"
        less = trusted


CHECKS = (
    check_code_shape,
    check_code_precision,
    check_support,
    check_tells_data_apart,
    check_round_trip,
    check_decodes_any_code,
    check_rows_independent,
    check_deterministic,
    check_inputs_unchanged,
    check_state_round_trip,
    check_partial_conservative,
)
"""Checks of any codec."""
