"""Write a cohort of twelve heads in the formats of six sites, and locate a landmark in the images that metavoxel reads.

python examples/mixed_sites/make.py FOLDER          writes FOLDER/subjects.tsv, its images and FOLDER/schema.yaml
python examples/mixed_sites/make.py FOLDER --check  reads them, and prints the landmark's errors in mm

Heads are the ICBM 152 template as nilearn ships it, with a bright ball at (24, -30, 36) mm. Their positions in mm are
equal; their files differ: two template boxes, an oblique acquisition, a cropped field of view, a header in micrometres,
and a link whose content was not fetched.
"""

import argparse
from pathlib import Path

import nibabel
import numpy as np
from jaxtyping import Float64
from nilearn.datasets import load_mni152_template
from nilearn.image import resample_img

import metavoxel as mv
from metavoxel.cohort.read import read_cohort

LANDMARK = (24.0, -30.0, 36.0)
SITES = ("box_a", "box_b", "oblique", "cropped", "micrometres", "unfetched")
SCHEMA = """\
cohort: {table: subjects.tsv, split: {train: 0.6, validation: 0.2, test: 0.2}}
variables:
  T1w: {type: image, spacing: 4.0, percentiles: [0, 100]}
  age: {type: continuous, range: [10, 90], unit: years}
"""


def boxed(step: float, origin: tuple[float, float, float], degrees: float = 0.0) -> Float64[np.ndarray, "4 4"]:
    """Return an affine of cubic voxels, rotated about the left-right axis."""
    angle = np.deg2rad(degrees)
    affine = np.diag([step, step, step, 1.0])
    affine[1:3, 1:3] = step * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine[:3, 3] = origin
    return affine


GRIDS = {
    "box_a": (boxed(3.0, (-90, -126, -72)), (61, 73, 61)),
    "box_b": (boxed(3.0, (-78, -112, -70)), (53, 64, 53)),
    "oblique": (boxed(3.0, (-90, -75, -125), 25), (61, 76, 76)),
    "cropped": (boxed(3.0, (-90, -126, -30)), (61, 73, 47)),
    "micrometres": (boxed(3.0, (-90, -126, -72)), (61, 73, 61)),
    "unfetched": (boxed(3.0, (-90, -126, -72)), (61, 73, 61)),
}


def write(folder: Path) -> None:
    """Write the cohort."""
    folder.mkdir(parents=True, exist_ok=True)
    template = load_mni152_template(resolution=2)
    places = np.indices(template.shape).reshape(3, -1).T @ template.affine[:3, :3].T + template.affine[:3, 3]
    ball = np.exp(-((np.linalg.norm(places - LANDMARK, axis=1) / 6) ** 2)).reshape(template.shape)
    data = (template.get_fdata() + 1.5 * ball).astype(np.float32)
    head = nibabel.Nifti1Image(data, template.affine)
    rows = ["participant_id\tT1w\tage"]
    for index in range(12):
        site = SITES[index % 6]
        affine, shape = GRIDS[site]
        image = resample_img(head, affine, shape, interpolation="continuous", copy_header=False, force_resample=True)
        name = f"s{index:02d}_{site}.nii.gz"
        scan = nibabel.Nifti1Image((900 * image.get_fdata().clip(0)).astype(np.int16), affine)
        if site == "micrometres":
            scan = nibabel.Nifti1Image(scan.get_fdata().astype(np.int16), np.diag([1e3, 1e3, 1e3, 1]) @ affine)
        scan.header.set_xyzt_units("micron" if site == "micrometres" else "mm")
        path = folder / name
        path.unlink(missing_ok=True)
        if site == "unfetched":
            path.symlink_to(f".git/annex/objects/{name}")
        else:
            nibabel.save(scan, path)
        rows.append(f"s{index:02d}\t{name}\t{30 + 4 * index}")
    (folder / "subjects.tsv").write_text("\n".join(rows) + "\n")
    fetched = [row for row in rows if "unfetched" not in row]
    (folder / "fetched.tsv").write_text("\n".join(fetched) + "\n")
    (folder / "schema.yaml").write_text(SCHEMA)
    (folder / "fetched.yaml").write_text(SCHEMA.replace("subjects.tsv", "fetched.tsv"))
    (folder / "boxes.yaml").write_text(
        SCHEMA.replace("subjects.tsv", "fetched.tsv").replace("spacing", "place: box, spacing")
    )


def check(folder: Path) -> None:
    """Print the landmark's error at each site, with images placed by world coordinates in mm and as boxes."""
    for name in ("fetched", "boxes"):
        schema = mv.load_schema(folder / f"{name}.yaml")
        cohort = read_cohort(schema.specs, schema.cohort, folder=folder, split=False)
        spec = cohort.variables["T1w"].model_dump()
        affine = np.array(spec["affine"])
        print(f"{name}: {spec['place']}, {'x'.join(map(str, spec['shape']))} voxels")
        first = None
        for row in range(5):
            data = cohort.columns["T1w"].read([row])[0, 0].numpy()
            bright = np.argwhere(data > 0.6 * data.max())
            weights = data[tuple(bright.T)] - 0.6 * data.max()
            found = weights @ bright / weights.sum()
            first = found if first is None else first
            apart = np.linalg.norm(found - first)
            off = np.linalg.norm(affine[:3, :3] @ found + affine[:3, 3] - LANDMARK)
            print(f"  {SITES[row]:12s} landmark error {off:5.1f} mm, {apart:.1f} voxels from the first site's")


def main() -> None:
    """Write the cohort, or check the images read from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    (check if arguments.check else write)(arguments.folder)


if __name__ == "__main__":
    main()
