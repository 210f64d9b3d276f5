"""Test the plugins of this repository, and those that ``metavoxel new-plugin`` writes, as installed distributions.

``python tools/test_plugins.py [--separate] [FOLDER ...]`` tests all of ``plugins/`` and the template by default. They
are installed from their folders into a new environment, which also has the packages of the current one. They must pass
their tests there, and ``metavoxel plugins`` must list them. With ``--separate`` each has an environment of its own,
which has no other plugin but those that it depends on.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("variable", "codec", "kernel", "backbone")
PATHS = ("purelib", "platlib")


def environment(folder: Path) -> Path:
    """Create an environment that also has the packages of this one; return its interpreter."""
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin" / "python"
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    lines = [f"import site; site.addsitedir({path!r})" for path in sorted({sysconfig.get_path(p) for p in PATHS})]
    # The checkout comes first, whatever the other environment has.
    (Path(own) / "seen.pth").write_text("\n".join([str(ROOT), *lines]) + "\n", encoding="utf-8")
    return python


def needed(folder: Path) -> list[Path]:
    """Return the folders of other plugins of this repository that a plugin depends on."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [other for name in project["dependencies"] if (other := ROOT / "plugins" / name).is_dir()]


def tested(name: str, folders: Sequence[Path], place: Path, processes: int) -> str:
    """Install these folders, and those they need, into one environment and test them; return the failure, or empty."""
    python = environment(place / "environments" / name)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    # Without a settings file, as the plugins' own differ. Their modules of tests have the same names.
    pytest = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    pytest += ["--import-mode=importlib", "-m", "not slow", "-n", str(processes), "--dist", "loadfile"]
    steps = [
        [
            *pip,
            "--no-build-isolation",
            *map(str, dict.fromkeys([*(one for f in folders for one in needed(f)), *folders])),
        ],
        [*pytest, "--rootdir", str(place), *(str(folder / "tests") for folder in folders)],
        [str(python), "-c", "from metavoxel.cli import main; main()", "plugins"],
    ]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "200"}
    for step in steps:
        done = subprocess.run(step, cwd=place, env=quiet, capture_output=True, text=True)
        if done.returncode != 0:
            return f"{shlex.join(step)}\n{done.stdout}{done.stderr}"
    absent = [folder.name for folder in folders if f" {folder.name} " not in done.stdout]
    if absent or "Not usable" in done.stdout:
        return f"metavoxel plugins does not list {', '.join(absent) or 'all'}\n{done.stdout}"
    return ""


def written(place: Path) -> list[Path]:
    """Write a plugin of each kind from the template; return their folders."""
    from metavoxel.cli.new_plugin import new_plugin

    folders = [place / f"metavoxel-new-{kind}" for kind in KINDS]
    for kind, folder in zip(KINDS, folders, strict=True):
        new_plugin(f"new-{kind}", kind, folder)
    return folders


def main() -> int:
    """Test the named folders, or all; return 1 if any fails."""
    sys.path.insert(0, str(ROOT))
    separate, chosen = (
        "--separate" in sys.argv[1:],
        [Path(one).resolve() for one in sys.argv[1:] if one != "--separate"],
    )
    cores = min(4, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as place:
        groups = {folder.name: [folder] for folder in chosen or sorted((ROOT / "plugins").glob("metavoxel-*"))}
        if not chosen:
            groups["template"] = written(Path(place))
        if not separate:
            groups = {"plugins": [folder for group in groups.values() for folder in group]}
        with ThreadPoolExecutor(cores) as pool:
            running = {
                name: pool.submit(tested, name, group, Path(place), 0 if separate else cores)
                for name, group in groups.items()
            }
            failed = []
            for name, run in running.items():
                problem = run.result()
                print(f"{name}: {problem or 'installs, passes its tests, is listed'}", flush=True)
                failed += [name] if problem else []
    print(f"{len(groups)} environments, failed: {', '.join(failed) or 'none'}")
    return 1 if failed or not groups else 0


if __name__ == "__main__":
    sys.exit(main())
