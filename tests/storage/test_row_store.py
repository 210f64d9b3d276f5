"""Arrays of rows on disk: contents, resuming, damage."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.errors import RunError
from metavoxel.storage import row_store
from metavoxel.storage.row_store import RowStore, damage, read_array, read_rows


def fill(folder, values, order, stop=None, **more):
    """Write rows in some order, each committed, from where an earlier call stopped."""
    with RowStore(folder, len(values), len(order)) as store:
        for item in range(store.done, len(order) if stop is None else stop):
            rows = [order[item]]
            store.write("values", rows, values[rows])
            for name, other in more.items():
                store.write(name, rows, other[rows])
            store.commit(item + 1, now=True)
        return store.done


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
def test_rows_are_read_as_written(tmp_path, dtype):
    values = torch.randn(6, 2, 3).to(dtype)
    fill(tmp_path / "store", values, [4, 0, 1, 5])
    found = read_rows(tmp_path / "store")["values"]
    assert found.dtype == dtype and torch.equal(found[[4, 0, 1, 5]], values[[4, 0, 1, 5]])
    assert not found[[2, 3]].any(), "rows that were not written are zeros"
    found[0] = 0
    assert torch.equal(read_rows(tmp_path / "store")["values"][0], values[0]), "the file is unchanged"


@given(stops=st.lists(st.integers(0, 7), max_size=4))
def test_it_continues_where_it_stopped(tmp_path_factory, stops):
    folder = tmp_path_factory.mktemp("store") / "store"
    values, order = torch.arange(21.0).reshape(7, 3), [6, 0, 1, 2, 3, 5, 4]
    other, done = values.bfloat16(), 0
    for stop in stops:
        assert fill(folder, values, order, max(stop, done), other=other) == max(stop, done)
        done = max(stop, done)
        assert (read_rows(folder) is None) == (done < 7)
    fill(folder, values, order, other=other)
    found = read_rows(folder)
    assert torch.equal(found["values"], values) and torch.equal(found["other"], other)
    np.testing.assert_array_equal(read_array(folder, "values").read(np.arange(7)), values.numpy())
    assert read_array(folder, "none") is None


def test_rows_that_were_not_committed_are_written_again(tmp_path):
    """A crash may leave any bytes there."""
    values = torch.ones(5, 2)
    with RowStore(tmp_path, 5, 5) as store:
        store.write("values", [0, 1], values[:2])
        store.commit(2, now=True)
        store.write("values", [2, 3], 7 * values[2:4])
    with RowStore(tmp_path, 5, 5) as store:
        assert store.done == 2
        store.write("values", [2, 3, 4], values[2:])
        store.commit(5)
    assert torch.equal(read_rows(tmp_path)["values"], values)


@pytest.mark.parametrize("damage", ["index", "short", "absent", "type", "other"])
def test_a_damaged_store_is_made_anew(tmp_path, damage):
    values = torch.randn(4, 2)
    fill(tmp_path, values, [0, 1, 2, 3], 3)
    index = json.loads((tmp_path / "rows.json").read_text())
    if damage == "index":
        (tmp_path / "rows.json").write_text("{")
    elif damage == "short":
        (tmp_path / "values.bin").write_bytes(b"123")
    elif damage == "absent":
        (tmp_path / "values.bin").unlink()
    elif damage == "type":
        index["arrays"]["values"]["dtype"] = "object"
        (tmp_path / "rows.json").write_text(json.dumps(index))
    else:
        fill(tmp_path, torch.randn(5, 2), [0, 1, 2, 3, 4], 3)
    assert RowStore(tmp_path, 4, 4).done == 0 and read_rows(tmp_path) is None
    fill(tmp_path, values, [0, 1, 2, 3])
    assert torch.equal(read_rows(tmp_path)["values"], values)


def test_a_full_disk_is_a_message(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("metavoxel.storage.row_store.os.fsync", full)
    with pytest.raises(RunError, match="No space left on device.*make room"):
        fill(tmp_path, torch.ones(2, 2), [0, 1])


@given(place=st.integers(0, 6 * 5 * 4 - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(tmp_path_factory, place, bit):
    folder = tmp_path_factory.mktemp("store") / "store"
    fill(folder, torch.randn(6, 5), [4, 0, 1, 5])
    assert not damage(folder)
    content = bytearray((folder / "values.bin").read_bytes())
    content[place] ^= 1 << bit
    (folder / "values.bin").write_bytes(content)
    row = place // 20
    assert damage(folder) == f"1 of 6 rows of 'values' differ from their checksums, the first is {row}"
    array = read_array(folder, "values")
    assert array.wrong(np.array([5, row, 0] if row not in (0, 5) else [0, 5])) == [row]


def test_blocks_of_rows_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(row_store, "BLOCK_BYTES", 100)
    fill(tmp_path, torch.randn(40, 5), range(40), empty=torch.zeros(40, 0))
    assert not damage(tmp_path) and not damage(tmp_path / "none")
    content = np.memmap(tmp_path / "values.bin", np.uint8, "r+")
    content[[7, 8 * 20, 39 * 20]] ^= 4
    content.flush()
    assert damage(tmp_path) == "3 of 40 rows of 'values' differ from their checksums, the first is 0"


def test_a_store_without_checksums_is_made_anew(tmp_path):
    fill(tmp_path, torch.randn(4, 2), range(4))
    (tmp_path / "values.crc").unlink()
    assert read_rows(tmp_path) is None and RowStore(tmp_path, 4, 4).done == 0
