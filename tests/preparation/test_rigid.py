import numpy as np
import pytest
import SimpleITK
from heads import pose
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.preparation.rigid import read_rigid


@given(st.floats(0, 180), st.floats(0, 200), st.integers(0, 100))
def test_a_file_restores_the_map_bit_for_bit(tmp_path_factory, angle, shift, seed):
    path = tmp_path_factory.mktemp("rigid") / "x_xfm.txt"
    rigid = pose(angle, shift, seed)
    path.write_text(rigid.text())
    assert np.array_equal(read_rigid(path).matrix, rigid.matrix)


def test_itk_reads_the_same_map_in_its_own_axes(tmp_path):
    rigid = pose(40, 30)
    (tmp_path / "x.txt").write_text(rigid.text())
    x, y, z = 10.0, -20.0, 30.0
    found = SimpleITK.ReadTransform(str(tmp_path / "x.txt")).TransformPoint((-x, -y, z))
    assert np.allclose(np.array(found) * [-1, -1, 1], (rigid.matrix @ [x, y, z, 1])[:3])


def test_inverse_and_composition_and_angle():
    rigid = pose(33, 10)
    assert rigid.angle == pytest.approx(33)
    assert np.allclose(rigid.after(rigid.inverse()).matrix, np.eye(4))
    assert rigid.displacement(rigid, np.eye(3)).max() == 0


def test_another_file_is_refused(tmp_path):
    (tmp_path / "x.txt").write_text("nothing")
    with pytest.raises(ValueError, match="not an affine transform"):
        read_rigid(tmp_path / "x.txt")
