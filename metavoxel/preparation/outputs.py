"""Names and files of the derivative: written aside and renamed, the image's sidecar last."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from metavoxel.images.files import as_nifti, write_nifti
from metavoxel.images.image import Image
from metavoxel.preparation.head import Prepared
from metavoxel.preparation.settings import RECORD, T1W, file_hash
from metavoxel.preparation.sources import Scan
from metavoxel.preparation.template import SPACE

WORK = ".work"
LOCKS = ".locks"


@final
class Outputs:
    """Files of one scan, or of another contrast of its visit, in the derivative.

    A contrast has no masks of its own: its brain is that of the T1w.
    """

    def __init__(self, derivative: Path, scan: Scan, suffix: str = T1W) -> None:
        self.derivative, self.scan, self.suffix = derivative, scan, suffix
        self.name = scan.name if suffix == T1W else f"{scan.name}_{suffix}"
        folder = Path(scan.subject, *filter(None, (scan.session,)), "anat")
        stem = str(folder / scan.name)
        self.image = f"{stem}_space-{SPACE}_desc-preproc_{suffix}.nii.gz"
        self.sidecar = derivative / self.image.replace(".nii.gz", ".json")
        self.mask = f"{stem}_space-{SPACE}_desc-brain_mask.nii.gz"
        self.native_mask = f"{stem}_desc-brain_mask.nii.gz"
        self.field = f"{stem}_desc-n4{'' if suffix == T1W else suffix}_biasfield.nii.gz"
        self.transform = f"{stem}_from-{suffix}_to-{SPACE}_mode-image_xfm.txt"
        self._masks = (self.mask, self.native_mask) if suffix == T1W else ()

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
        for name in (self.image, *self._masks, self.field, self.transform):
            self.sidecar.unlink(missing_ok=True)
            (self.derivative / name).unlink(missing_ok=True)

    def write(self, prepared: Prepared, source: str, record: Mapping[str, Any]) -> None:
        """Write all files of a prepared scan; the sidecar, which marks it as finished, last.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        self.sidecar.unlink(missing_ok=True)
        names = [self.image, *self._masks, self.transform]
        with _aside(self.derivative / WORK / self.name) as work:
            _save(work, self.image, lambda path: write_nifti(path, prepared.image))
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
            if self._masks:
                self._write_masks(work, prepared, sources)
            for path in sorted(file for file in work.rglob("*") if file.is_file()):
                target = self.derivative / path.relative_to(work)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
            _save(work, "sidecar.json", lambda path: _write_json(path, description))
            os.replace(work / "sidecar.json", self.sidecar)

    def _write_masks(self, work: Path, prepared: Prepared, sources: list[str]) -> None:
        for name, mask, reference in (
            (self.mask, prepared.mask, {"SpatialReference": SPACE}),
            (self.native_mask, prepared.native_mask, {}),
        ):
            _save(work, name, partial(_write_mask, mask=mask))
            content = {"Sources": sources, **reference, "Type": "Brain"}
            _save(work, name.replace(".nii.gz", ".json"), partial(_write_json, content=content))


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
