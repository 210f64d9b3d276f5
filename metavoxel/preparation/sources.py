"""Find the scans to prepare: a BIDS folder, or a folder of NIfTI files."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from metavoxel.cohort.bids_files import index_dataset
from metavoxel.cohort.entities import BidsFile, absent, differences, select
from metavoxel.errors import CohortError, Problem
from metavoxel.images.fetched import absence
from metavoxel.images.files import NIFTI, is_nifti

DEFAULT_ENTITIES: Mapping[str, str | None] = {"suffix": "T1w", "space": None, "desc": None}


class Contrast(NamedTuple):
    """An image of another contrast of the same visit: its BIDS suffix and file."""

    suffix: str
    path: Path


class Scan(NamedTuple):
    """One T1w to prepare: subject and session with their prefixes, its file, its given mask, other contrasts."""

    subject: str
    session: str
    path: Path
    mask: Path | None = None
    contrasts: tuple[Contrast, ...] = ()

    @property
    def name(self) -> str:
        """Common start of the names of its outputs."""
        return "_".join(filter(None, (self.subject, self.session)))


class Failure(NamedTuple):
    """A scan, or subject, that could not be prepared."""

    subject: str
    session: str
    source: str
    problem: str


class Found(NamedTuple):
    """Scans by subject, in the order of their sessions, and those that cannot be used."""

    scans: dict[str, list[Scan]]
    failures: list[Failure]


def find_scans(
    folder: Path, entities: Mapping[str, str | None], masks: Path | None = None, contrasts: Sequence[str] = ()
) -> Found:
    """Find one scan per visit.

    Args:
        folder: BIDS folder, or a folder of NIfTI files, each a subject named as the file.
        entities: criteria in a BIDS folder beyond :data:`DEFAULT_ENTITIES`.
        contrasts: BIDS suffixes of further images of each visit, in a BIDS folder.
        masks: BIDS folder with a ``desc-brain_mask`` for each scan, or a folder with masks named as the scans.

    Raises:
        CohortError: no such folder, unknown entities, or no scan at all.
    """
    if not folder.is_dir():
        raise CohortError(Problem(str(folder), "no such folder" if not folder.exists() else "a file, not a folder"))
    dataset = index_dataset(folder)
    criteria = {**DEFAULT_ENTITIES, **entities}
    if contrasts and not dataset.files:
        what = f"{', '.join(contrasts)}: only a BIDS folder states which images are of one visit"
        raise CohortError(Problem("`contrast`", what))
    found = _in_bids(folder, dataset.files, criteria) if dataset.files else _in_folder(folder)
    for suffix in contrasts:
        found = _with_contrast(found, folder, dataset.files, suffix)
    return found if masks is None else _with_masks(found, masks)


def _in_bids(folder: Path, files: Sequence[BidsFile], entities: Mapping[str, str | None]) -> Found:
    known = {key for file in files for key in file.entities}
    selection, problems = select(entities, known, "`entities`")
    images = [file for file in files if is_nifti(file.path)]
    chosen, more = selection.among(images, "`entities`")
    if problems or more:
        raise CohortError([*problems, *more])
    if not chosen:
        raise CohortError(Problem(str(folder), absent(selection, images)))
    visits: dict[tuple[str, str], list[BidsFile]] = defaultdict(list)
    for file in chosen:
        session = file.entities.get("ses", "")
        visits[f"sub-{file.entities['sub']}", f"ses-{session}" if session else ""].append(file)
    scans: dict[str, list[Scan]] = defaultdict(list)
    failures = []
    for (subject, session), candidates in sorted(visits.items()):
        left = selection.of_visit(candidates)
        if len(left) > 1:
            what = f"{len(left)} scans of one visit: {', '.join(file.path for file in left)}; choose by `entities`: "
            failures.append(Failure(subject, session, left[0].path, what + differences(left)))
        elif reason := absence(folder / left[0].path):
            failures.append(Failure(subject, session, left[0].path, reason))
        else:
            scans[subject].append(Scan(subject, session, folder / left[0].path))
    return Found(dict(scans), failures)


def _with_contrast(found: Found, folder: Path, files: Sequence[BidsFile], suffix: str) -> Found:
    """Attach the image of a contrast to the scan of its visit; visits with several, or without T1w, are failures."""
    other = _in_bids(folder, files, {**DEFAULT_ENTITIES, "suffix": suffix})
    left = {(scan.subject, scan.session): scan for scans in other.scans.values() for scan in scans}
    scans = {}
    for subject, of_subject in found.scans.items():
        with_it = []
        for scan in of_subject:
            image = left.pop((scan.subject, scan.session), None)
            added = () if image is None else (Contrast(suffix, image.path),)
            with_it.append(scan._replace(contrasts=(*scan.contrasts, *added)))
        scans[subject] = with_it
    what = f"{suffix} without a usable T1w of the same visit, to which it is registered"
    alone = [
        Failure(scan.subject, scan.session, scan.path.relative_to(folder).as_posix(), what) for scan in left.values()
    ]
    return Found(scans, [*found.failures, *other.failures, *alone])


def _in_folder(folder: Path) -> Found:
    files = sorted(path for path in folder.iterdir() if is_nifti(path) and not path.name.startswith("."))
    if not files:
        what = (
            "has neither BIDS images (sub-LABEL/[ses-LABEL/]anat/...) nor NIfTI files (.nii, .nii.gz) nor DICOM files"
        )
        raise CohortError(Problem(str(folder), what))
    by_subject: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        by_subject[f"sub-{_label(path)}"].append(path)
    scans: dict[str, list[Scan]] = {}
    failures = []
    for subject, paths in by_subject.items():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            failures.append(
                Failure(subject, "", paths[0].name, f"{names} have the same letters and digits; rename one")
            )
        elif reason := absence(paths[0]):
            failures.append(Failure(subject, "", paths[0].name, reason))
        else:
            scans[subject] = [Scan(subject, "", paths[0])]
    return Found(scans, failures)


def _label(path: Path) -> str:
    """Letters and digits of a file name: labels of BIDS have no others."""
    ending = next(ending for ending in sorted(NIFTI, key=len, reverse=True) if path.name.lower().endswith(ending))
    return re.sub(r"[^0-9A-Za-z]", "", path.name[: -len(ending)].removeprefix("sub-")) or "x"


def _with_masks(found: Found, masks: Path) -> Found:
    """Attach the mask of each scan; scans without one fail."""
    if not masks.is_dir():
        raise CohortError(Problem("`masks`", f"{masks}: no such folder"))
    by_visit: dict[tuple[str, str], Path] = {}
    for file in index_dataset(masks).files:
        wanted = file.entities["suffix"] == "mask" and file.entities.get("desc") == "brain"
        if wanted and "space" not in file.entities:
            session = file.entities.get("ses", "")
            by_visit[f"sub-{file.entities['sub']}", f"ses-{session}" if session else ""] = masks / file.path
    scans: dict[str, list[Scan]] = {}
    failures = list(found.failures)
    for subject, of_subject in found.scans.items():
        for scan in of_subject:
            mask = by_visit.get((scan.subject, scan.session), masks / scan.path.name)
            if mask.is_file():
                scans.setdefault(subject, []).append(scan._replace(mask=mask))
            else:
                what = f"no mask in {masks}: neither {scan.name}_desc-brain_mask.nii.gz in BIDS nor {scan.path.name}"
                failures.append(Failure(scan.subject, scan.session, scan.path.name, what))
    return Found(scans, failures)
