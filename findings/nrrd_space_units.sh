#!/usr/bin/env bash
# SimpleITK 2.5.7 and pynrrd 1.1.3 on a NRRD file of a mouse brain whose header declares its space in micrometres.
#
# NRRD has a field for the unit of each space axis ("space units"), as NIfTI has xyzt_units. A good engineer's guess: a
# reader that gives positions in mm (ITK's documented unit) divides by a thousand. It does not: spacing and origin are the
# numbers of the file, so a voxel of 25 micrometres becomes one of 25 mm, and no entry of the metadata keeps the unit.
# pynrrd gives the header as it is, unit beside numbers.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q SimpleITK==2.5.7 pynrrd==1.1.3
cd "$work"
"$work/env/bin/python" - <<'PY'
import nrrd
import numpy as np
import SimpleITK

data = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
header = {
    "space": "left-posterior-superior",
    "space directions": np.diag([25.0, 25.0, 25.0]),
    "space origin": np.array([100.0, 200.0, 300.0]),
    "space units": ["um", "um", "um"],
    "kinds": ["domain"] * 3,
}
nrrd.write("brain.nrrd", data, header)
_, read = nrrd.read_header(open("brain.nrrd", "rb")), nrrd.read("brain.nrrd")[1]
assert list(read["space units"]) == ["um", "um", "um"], read
image = SimpleITK.ReadImage("brain.nrrd")
print("pynrrd:   ", read["space units"], "spacing", np.diag(read["space directions"]))
print("SimpleITK:", "spacing", image.GetSpacing(), "origin", image.GetOrigin())
units = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if "unit" in key.lower()}
print("SimpleITK's metadata about units:", units or "none")
assert not units, "the unit is kept in the metadata now"
assert image.GetSpacing() == (25.0, 25.0, 25.0), "the unit is taken into account now"
assert image.GetOrigin() == (100.0, 200.0, 300.0), "the unit is taken into account now"
print("As described: a voxel of 25 micrometres is read as one of 25 mm.")
PY
