import socket

import pytest
from rated_derivatives import write_derivative

pytest.importorskip("uvicorn", reason="needs metavoxel[serve]")


@pytest.fixture
def derivative(tmp_path):
    return write_derivative(tmp_path / "prepared")


def test_help(metavoxel):
    found = metavoxel("qa", "--help")
    assert found.code == 0 and "--port" in found.out and "qa.tsv" in found.out


def test_a_missing_folder_and_a_file(metavoxel, tmp_path):
    missing, file = tmp_path / "missing", tmp_path / "file"
    file.write_text("")
    for path, what in ((missing, "no such folder"), (file, "is a file")):
        found = metavoxel("qa", path)
        assert found.code == 2 and f"{path}: {what}" in found.err and "metavoxel prepare" in found.err


def test_an_empty_folder(metavoxel, tmp_path):
    found = metavoxel("qa", tmp_path)
    assert found.code == 2 and f"{tmp_path}: is empty" in found.err
    assert f"metavoxel prepare MY_SCANS --output {tmp_path}" in found.err


def test_a_folder_of_native_scans(metavoxel, tmp_path):
    (tmp_path / "sub-01/anat").mkdir(parents=True)
    found = metavoxel("qa", tmp_path)
    assert found.code == 2 and f"{tmp_path}: has no prepared scan" in found.err
    assert f"metavoxel prepare {tmp_path} --output {tmp_path}/derivatives/prepared" in found.err


def test_the_folder_above_a_derivative(metavoxel, tmp_path):
    derivative = write_derivative(tmp_path / "derivatives/prepared")
    (derivative / "quality.tsv").write_text("")
    found = metavoxel("qa", tmp_path)
    assert found.code == 2 and f"metavoxel qa {derivative}" in found.err


def test_a_derivative_in_which_all_failed(metavoxel, tmp_path):
    (tmp_path / "failures.tsv").write_text("")
    found = metavoxel("qa", tmp_path)
    assert found.code == 2 and "failures.tsv" in found.err


def test_a_damaged_sidecar(metavoxel, derivative):
    sidecar = next(derivative.glob("sub-03/anat/*.json"))
    sidecar.write_text('{"Preparation": {"Output": "x", "Quality": {"symmetry": 1}}}')
    found = metavoxel("qa", derivative)
    assert found.code == 2 and f"{derivative}/sub-03: sidecar of the T1w: is damaged" in found.err
    assert "repeat metavoxel prepare" in found.err


@pytest.mark.parametrize(
    ("table", "where", "what"),
    [
        ("", "", "the table is empty"),
        ("participant_id\tsession_id\trater\nsub-01\tn/a\tAnn\n", "", "no column 'decision'"),
        ("{header}\nsub-01\tn/a\tAnn\tdrop\n", " row 2", "4 cells where the header has 7 columns"),
        (
            "{header}\nsub-01\tn/a\tAnn\tmaybe\tn/a\th\tt\n",
            " (sub-01, rater Ann), column decision",
            "'maybe' is none of",
        ),
        ("\0\1\2", "", ""),
    ],
)
def test_a_damaged_table_of_decisions(metavoxel, derivative, table, where, what):
    header = "participant_id\tsession_id\trater\tdecision\tnote\toutput\ttime"
    path = derivative / "qa.tsv"
    path.write_text(table.format(header=header))
    found = metavoxel("qa", derivative)
    assert found.code == 2 and f"{path}{where}: " in found.err and what in found.err
    assert f"mv {path} {derivative}/qa.old.tsv" in found.err


def test_a_port_in_use_names_a_free_one(metavoxel, derivative):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = metavoxel("qa", derivative, "--port", port)
    assert found.code == 2 and f"--port {port}: cannot be used" in found.err
    assert "Address already in use" in found.err and "choose another, for example --port " in found.err
    assert "http" not in found.out


def test_a_port_that_is_none(metavoxel, derivative):
    found = metavoxel("qa", derivative, "--port", "70000")
    assert found.code == 2 and "--port" in found.err and "65535" in found.err
