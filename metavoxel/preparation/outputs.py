"""Names and files of the derivative: written aside and renamed, the image's sidecar last."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np

from metavoxel.images.files import as_nifti, write_nifti
from metavoxel.images.image import Image
from metavoxel.preparation.head import Prepared
from metavoxel.preparation.settings import RECORD, file_hash
from metavoxel.preparation.sources import Scan
from metavoxel.preparation.template import SPACE

WORK = ".work"
LOCKS = ".locks"


@final
class Outputs:
    """Files of one scan in the derivative."""

    def __init__(self, derivative: Path, scan: Scan) -> None:
        self.derivative, self.scan = derivative, scan
        folder = Path(scan.subject, *filter(None, (scan.session,)), "anat")
        stem = str(folder / scan.name)
        self.image = f"{stem}_space-{SPACE}_desc-preproc_T1w.nii.gz"
        self.sidecar = derivative / self.image.replace(".nii.gz", ".json")
        self.mask = f"{stem}_space-{SPACE}_desc-brain_mask.nii.gz"
        self.native_mask = f"{stem}_desc-brain_mask.nii.gz"
        self.field = f"{stem}_desc-n4_biasfield.nii.gz"
        self.transform = f"{stem}_from-T1w_to-{SPACE}_mode-image_xfm.txt"

    def record(self) -> dict[str, Any] | None:
        """Read the record of finished work; None if there is none, or a file is missing."""
        try:
            record = json.loads(self.sidecar.read_text(encoding="utf-8"))[RECORD]
        except (OSError, ValueError, KeyError):
            return None
        complete = all((self.derivative / name).is_file() for name in record.get("Files", [self.image]))
        return record if isinstance(record, dict) and complete else None

    def remove(self) -> None:
        """Remove what an earlier preparation of the scan wrote, so that no cohort reads it; the sidecar first."""
        for name in (self.image, self.mask, self.native_mask, self.field, self.transform):
            self.sidecar.unlink(missing_ok=True)
            (self.derivative / name).unlink(missing_ok=True)

    def write(self, prepared: Prepared, source: str, record: Mapping[str, Any]) -> None:
        """Write all files of a prepared scan; the sidecar, which marks it as finished, last.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        self.sidecar.unlink(missing_ok=True)
        names = [self.image, self.mask, self.native_mask, self.transform]
        with _aside(self.derivative / WORK / self.scan.name) as work:
            _save(work, self.image, lambda path: write_nifti(path, prepared.image))
            _save(work, self.mask, lambda path: _write_mask(path, prepared.mask))
            _save(work, self.native_mask, lambda path: _write_mask(path, prepared.native_mask))
            _save(work, self.transform, lambda path: _write_text(path, prepared.rigid.text()))
            field = prepared.log_field
            if field is not None:
                names.append(self.field)
                _save(work, self.field, lambda path: write_nifti(path, field))
            sources = [f"bids:raw:{source}"]
            description = {
                "Sources": sources,
                "SkullStripped": True,
                "SpatialReference": SPACE,
                "Resolution": f"{prepared.image.grid.spacing[0]:g} mm isotropic",
                RECORD: {
                    **record,
                    "Output": file_hash(work / self.image),
                    "Files": names,
                    "Quality": prepared.quality._asdict(),
                    "Notes": list(prepared.notes),
                },
            }
            brief = {"Sources": sources, "SpatialReference": SPACE, "Type": "Brain"}
            _save(work, self.mask.replace(".nii.gz", ".json"), lambda path: _write_json(path, brief))
            own = {"Sources": sources, "Type": "Brain"}
            _save(work, self.native_mask.replace(".nii.gz", ".json"), lambda path: _write_json(path, own))
            for path in sorted(file for file in work.rglob("*") if file.is_file()):
                target = self.derivative / path.relative_to(work)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
            _save(work, "sidecar.json", lambda path: _write_json(path, description))
            os.replace(work / "sidecar.json", self.sidecar)


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """An empty folder, removed afterwards; the lock of the subject makes it this process's own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _save(work: Path, name: str, write) -> None:  # type: ignore[no-untyped-def]
    path = work / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)


def _write_mask(path: Path, mask: Image) -> None:
    as_nifti(mask, np.dtype(np.uint8)).to_filename(path)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_json(path: Path, content: object) -> None:
    _write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
