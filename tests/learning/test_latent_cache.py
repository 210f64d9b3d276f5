"""Latent caches: their contents, and the random masks of partly observed images."""

import pytest
import torch
from tiny_cohorts import CONTRASTS, IMAGES, write_contrasts, write_images, write_schema

from metavoxel.cohort.read import read_cohort
from metavoxel.errors import RunError
from metavoxel.learning.latent_cache import LatentCache, encode_column, index_dtype, load_cache, random_known
from metavoxel.rng import Rng
from metavoxel.runs.run import build_codecs
from metavoxel.schema import load_schema
from metavoxel.storage.row_store import RowStore


@pytest.mark.parametrize("shape", [(1, 8, 6), (1, 6, 5, 4)])
def test_random_masks(shape):
    """Observed voxels are a half-space or the complement of a box; most masks have observed and hidden voxels."""
    known = random_known((400, *shape), Rng.for_rows(400, "holes"))
    assert known.shape == (400, *shape) and known.dtype == torch.bool
    share = known.flatten(1).float().mean(1)
    assert float(((share > 0) & (share < 1)).float().mean()) > 0.9
    assert 0.3 < float(share.mean()) < 0.85
    part = random_known((2, *shape), Rng.for_rows(400, "holes")[torch.tensor([5, 3])])
    assert torch.equal(part, known[[5, 3]])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    schema = load_schema(write_schema(folder, IMAGES))
    read = read_cohort(schema.specs, schema.cohort, folder=folder, multiples=schema.multiples())
    return schema.with_specs(read.variables), read


def encoded(cohort, name, folder):
    schema, read = cohort
    torch.manual_seed(0)
    codec = build_codecs(schema)[name].eval()
    settings = {"augmentations": 3, "augmented": read.parts["train"].tolist(), "seed": 0, "device": "cpu"}
    *_, (done, total) = encode_column(name, read, codec, folder, **settings)
    assert done == total == int(read.columns[name].present.sum())
    assert not [*encode_column(name, read, codec, folder, **settings)], "codes that exist are not computed again"
    return codec, load_cache(folder, read.columns[name].present)


def test_cache_of_images(cohort, tmp_path):
    _, read = cohort
    codec, found = encoded(cohort, "volume", tmp_path)
    rows, train = len(read), read.parts["train"]
    assert found.mean.shape == found.partial.shape == (rows, 3, *codec.code_shape)
    assert found.sd.shape == found.mean.shape and found.trusted.shape == (rows, 3, 1, *codec.code_shape[1:])
    assert torch.equal(found.present, read.columns["volume"].present)
    assert not found.mean[~found.present].any()
    data = read.columns["volume"].read(found.present.nonzero()[:, 0])
    torch.testing.assert_close(found.mean[found.present, 0], codec.encode(data).mean, atol=1e-5, rtol=1e-4)
    augmented = [row for row in train.tolist() if found.present[row]]
    fixed = [row for row in range(rows) if found.present[row] and row not in train.tolist()]
    assert not torch.equal(found.mean[augmented, 1], found.mean[augmented, 0])
    assert not found.mean[fixed, 1:].any(), "rows outside the training part are not augmented"


def test_half_precision_halves_the_codes_of_images(cohort, tmp_path):
    """Rounded by at most 2^-8; drawn in single precision. Numbers keep theirs."""
    _, read = cohort
    codec, whole = encoded(cohort, "volume", tmp_path / "whole")
    settings = {"augmentations": 3, "augmented": read.parts["train"].tolist(), "seed": 0, "device": "cpu"}
    for name, folder in (("volume", tmp_path / "half"), ("age", tmp_path / "age")):
        used = codec if name == "volume" else encoded(cohort, "age", tmp_path / "other")[0]
        [*encode_column(name, read, used, folder, **settings, precision=torch.bfloat16)]
    half = load_cache(tmp_path / "half", whole.present)
    for name in ("mean", "sd", "partial"):
        exact, rounded = getattr(whole, name), getattr(half, name)
        assert rounded.dtype == torch.bfloat16
        assert bool(((rounded.float() - exact).abs() <= exact.abs() / 256).all())
    assert torch.equal(half.trusted, whole.trusted)
    rows, zero = torch.tensor([0, 3]), torch.zeros(2)
    code, partial, _ = half.draw(rows, Rng.for_rows(2, "draw"), augmentation=zero)
    assert code.dtype == partial.dtype == half.uncertainty(rows).dtype == torch.float32
    assert load_cache(tmp_path / "age", read.columns["age"].present).mean.dtype == torch.float32


def test_cache_of_numbers(cohort, tmp_path):
    codec, found = encoded(cohort, "age", tmp_path)
    assert found.mean.shape == (16, 1, 1) and found.sd is found.partial is found.trusted is None


def test_augmentations_and_draws_are_determined_by_the_row_streams():
    values = torch.arange(5.0)[:, None, None] * 10 + torch.arange(4.0)[None, :, None]
    found = LatentCache(torch.ones(5, dtype=torch.bool), values, torch.full_like(values, 0.1), None, None)
    rows, rng = torch.tensor([4, 0, 2]), Rng.for_rows(3, "draw")
    augmentation = rng.fork("version").uniform((3,), dtype=torch.float64)
    first, again = (found.draw(rows, rng[slice(None)], augmentation=augmentation)[0] for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.round(first[:, 0] / 10), rows.float())
    plain = found.draw(rows, rng[slice(None)], augmentation=torch.zeros(3))[0]
    assert ((plain - values[rows, 0]).abs() < 0.7).all() and not torch.equal(plain, values[rows, 0])


def test_an_interrupted_encoding_continues_to_the_same_codes(cohort, tmp_path, monkeypatch):
    schema, read = cohort
    codec, whole = encoded(cohort, "volume", tmp_path / "whole")
    monkeypatch.setattr("metavoxel.storage.row_store.SECONDS_BETWEEN_COMMITS", 0)
    settings = {"augmentations": 3, "augmented": read.parts["train"].tolist(), "seed": 0, "device": "cpu"}
    first = encode_column("volume", read, codec, tmp_path / "parts", **settings)
    done, total = next(first)
    first.close()
    assert done < total
    with pytest.raises(RunError, match="no complete codes"):
        load_cache(tmp_path / "parts", read.columns["volume"].present)
    later = [done for done, _ in encode_column("volume", read, codec, tmp_path / "parts", **settings)]
    assert min(later) > done and max(later) == total
    found = load_cache(tmp_path / "parts", read.columns["volume"].present)
    for name in ("present", "mean", "sd", "partial", "trusted"):
        assert torch.equal(getattr(found, name), getattr(whole, name)), name


def test_images_of_a_row_are_augmented_jointly(tmp_path):
    """Two contrasts of one slice remain aligned under shifts and reflections, in every augmentation of every row."""
    write_contrasts(tmp_path)
    schema = load_schema(write_schema(tmp_path, CONTRASTS))
    read = read_cohort(schema.specs, schema.cohort, folder=tmp_path, multiples=schema.multiples())
    schema = schema.with_specs(read.variables)
    codecs, caches = build_codecs(schema), {}
    for name in ("T1w", "FLAIR"):
        codec, folder = codecs[name].eval(), tmp_path / name
        [*encode_column(name, read, codec, folder, augmentations=4, augmented=range(len(read)), seed=0, device="cpu")]
        caches[name] = load_cache(folder, read.columns[name].present)
    both = caches["T1w"].present & caches["FLAIR"].present
    first, second = (caches[name].mean[both] for name in ("T1w", "FLAIR"))
    assert not torch.equal(first[:, 1], first[:, 0])
    correlations = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(first, second, strict=True)
    ]
    # FLAIR is T1w with inverted intensities.
    assert max(correlations) < -0.99


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [(2, torch.uint8), (256, torch.uint8), (257, torch.int16), (32_768, torch.int16), (32_769, torch.int32)],
)
def test_indices_are_stored_in_the_smallest_integers(classes, dtype, tmp_path):
    assert index_dtype(classes) == dtype
    codes = torch.tensor([[[0, classes - 1]], [[1, 0]]])
    with RowStore(tmp_path, 2, 2) as store:
        store.write("mean", [0, 1], codes.to(dtype))
        store.commit(2, now=True)
    found = load_cache(tmp_path, torch.ones(2, dtype=torch.bool))
    assert found.mean.dtype == dtype
    drawn, _, _ = found.draw(torch.tensor([1, 0]), Rng.for_rows(2, "draw"), augmentation=torch.zeros(2))
    assert torch.equal(drawn, codes[[1, 0]]) and torch.equal(found.first(torch.tensor([0, 1])), codes)
