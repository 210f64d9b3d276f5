import json

import numpy as np
import pytest

from metavoxel.errors import CohortError
from metavoxel.images.files import read_image
from metavoxel.images.image import Image
from metavoxel.preparation.dataset import prepare_dataset
from metavoxel.preparation.dicom import convert_visits, dicom_visits
from metavoxel.preparation.settings import PrepareSettings
from metavoxel.preparation.sources import find_scans
from metavoxel.runs.bars import finish

pydicom = pytest.importorskip("pydicom", reason="needs pydicom")
pytest.importorskip("dcm2niix", reason="needs metavoxel[prepare]")
uids = pytest.importorskip("pydicom.uid")


def _write_series(folder, image, number, description):
    """Write one file per axial slice; the image has canonical axes."""
    folder.mkdir(parents=True, exist_ok=True)
    spacing, origin, series = image.grid.spacing, image.grid.affine[:3, 3], uids.generate_uid()
    for index in range(image.data.shape[2]):
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID = uids.MRImageStorage
        meta.MediaStorageSOPInstanceUID = uids.generate_uid()
        meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
        file = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        pixels = np.rint(image.data[:, :, index].T).clip(0, 4000).astype(np.uint16)
        tags = {
            "SOPClassUID": uids.MRImageStorage, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID, "Modality": "MR",
            "SeriesInstanceUID": series, "StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4",
            "SeriesNumber": number, "SeriesDescription": description, "ProtocolName": description,
            "PatientName": "Nobody", "PatientID": "secret", "Manufacturer": "SIEMENS", "InstanceNumber": index + 1,
            "AcquisitionNumber": 1, "ImageType": ["ORIGINAL", "PRIMARY", "M"], "MRAcquisitionType": "3D",
            "ImageOrientationPatient": [-1, 0, 0, 0, -1, 0], "SliceThickness": spacing[2],
            "ImagePositionPatient": [-origin[0], -origin[1], origin[2] + index * spacing[2]],
            "PixelSpacing": [spacing[1], spacing[0]], "Rows": pixels.shape[0], "Columns": pixels.shape[1],
            "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16,
            "HighBit": 15, "PixelRepresentation": 0, "PixelData": pixels.tobytes(),
        }  # fmt: skip
        for name, value in tags.items():
            setattr(file, name, value)
        file.save_as(folder / f"{number}_{index:03}.dcm", enforce_file_format=True)


@pytest.fixture(scope="module")
def head(brain):
    image = brain.resampled(6.0)
    return Image(np.maximum(np.rint(image.data), 0).astype(np.float32), image.grid)


@pytest.fixture
def dicom(tmp_path, head):
    """Two subjects: p-1 with a localiser, a scan of few slices and a T1w; p2 with a scan of few slices alone."""
    few = Image(np.ascontiguousarray(head.data[:, :, 10:13]), head.grid)
    _write_series(tmp_path / "dicom/p-1", few, 1, "AAHScout")
    _write_series(tmp_path / "dicom/p-1/more", few, 2, "calibration")
    _write_series(tmp_path / "dicom/p-1/more", head, 3, "t1_mprage_sag")
    _write_series(tmp_path / "dicom/p2", few, 1, "calibration")
    return tmp_path / "dicom"


def test_series_become_a_bids_folder_and_others_are_named(dicom, tmp_path, head):
    visits = dicom_visits(dicom)
    assert [visit.subject for visit in visits] == ["sub-p1", "sub-p2"]
    found = convert_visits(visits, tmp_path / "out", None)
    (scans,) = find_scans(tmp_path / "out", {}).scans.values()
    image = read_image(scans[0].path)
    assert np.allclose(image.grid.affine, head.grid.affine, atol=1e-3) and np.array_equal(image.data, head.data)
    assert "secret" not in json.dumps(json.loads((tmp_path / "out/sub-p1/anat/sub-p1_T1w.json").read_text()))
    assert sorted(found.left_out)[0] == "sub-p1: left out 'AAHScout': a localiser by its name"
    assert "'calibration'" in sorted(found.left_out)[1] and "field of view" in sorted(found.left_out)[1]
    (failure,) = found.failures
    assert failure.subject == "sub-p2" and failure.problem.startswith("no series that may be its T1w")
    before = scans[0].path.stat().st_mtime_ns
    assert convert_visits(visits[:1], tmp_path / "out", None).left_out == found.left_out
    assert scans[0].path.stat().st_mtime_ns == before


def test_several_series_are_chosen_by_their_description(dicom, tmp_path, head):
    _write_series(dicom / "p-1/more", head, 4, "t1_spgr")
    visits = dicom_visits(dicom)[:1]
    (failure,) = convert_visits(visits, tmp_path / "out", None).failures
    assert "2 series that may be its T1w" in failure.problem and "choose one by `series`" in failure.problem
    assert not convert_visits(visits, tmp_path / "out", "*SPGR*").failures


def test_a_folder_of_dicom_is_prepared(dicom, tmp_path):
    output = tmp_path / "out"
    summary = finish(
        prepare_dataset(dicom, output, PrepareSettings(extractor="none", bias=False, spacing=8.0)), progress=False
    )
    assert (
        summary.prepared == 1 and [one.subject for one in summary.failures] == ["sub-p2"] and len(summary.left_out) == 2
    )
    sidecar = json.loads((output / "sub-p1/anat/sub-p1_space-MNI152NLin2009aSym_desc-preproc_T1w.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-p1/anat/sub-p1_T1w.nii.gz"]
    links = json.loads((output / "dataset_description.json").read_text())["DatasetLinks"]
    assert links == {"raw": "sourcedata"}


def test_two_folders_of_one_label_and_a_folder_without_dicom(dicom, tmp_path):
    (dicom / "p2").rename(dicom / "p1")
    with pytest.raises(CohortError, match="also has the label sub-p1"):
        convert_visits(dicom_visits(dicom), tmp_path / "out", None)
    assert dicom_visits(tmp_path / "nowhere") == [] and dicom_visits(tmp_path) == dicom_visits(dicom.parent)
