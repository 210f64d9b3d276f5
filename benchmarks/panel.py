"""A panel of tables: errors of conditional distributions with default settings, compared with simple methods.

python -m benchmarks.panel [--parts worlds real few samples] [--seeds 0 1 2] [--methods metavoxel trees ...]
    [--tables shapes ...] [--draws 20] [--test-rows 2000] [--output runs/benchmark-panel] [--publish] [--quick]

worlds: simulated tables with known conditional distributions, 500 training rows. real: tables of scikit-learn, and
IXI's if available; some variables from all others. few: diabetes from 20 rows. samples: accuracy of a forest that
separates generated from held-out rows. missing (only if named, since it is long): imputation under thirteen mechanisms.

The model is given only which columns are labels. Finished measurements are stored, so that an interrupted panel
continues, and methods can be measured one after another. With --publish, the tables are inserted into
docs/benchmarks.md.
"""

import argparse
import platform
import time
from pathlib import Path

import sklearn
import torch

import metavoxel as mv
from benchmarks.panel_generators import NotInstalledError
from benchmarks.panel_report import publish, tables
from benchmarks.panel_results import Results
from benchmarks.panel_run import GENERATORS, IMPUTERS, METHODS, PARTS, Panel


def main() -> None:
    """Make the unfinished measurements, and print the tables."""
    every = list(dict.fromkeys((*METHODS, *GENERATORS, *IMPUTERS)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--parts", nargs="*", choices=PARTS, default=list(PARTS[:-1]), help="none to print the tables only"
    )
    parser.add_argument("--methods", nargs="+", choices=every, default=every)
    parser.add_argument("--tables", nargs="+", help="only these tables and worlds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=500, help="training rows of a world")
    parser.add_argument("--test-rows", type=int, default=2000, help="test rows of a world; a method may have fewer")
    parser.add_argument("--draws", type=int, default=20, help="draws per test row, at least 20")
    parser.add_argument("--subsets", type=int, default=12, help="subsets of diabetes, with 20 rows each")
    parser.add_argument("--table", type=Path, default=Panel.table, help="table of IXI")
    parser.add_argument(
        "--output", type=Path, help="default: runs/benchmark-panel, or runs/benchmark-panel-quick with --quick"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, as a test that everything runs: a minute")
    parser.add_argument("--publish", action="store_true", help="insert the tables into docs/benchmarks.md")
    asked = parser.parse_args()
    if asked.draws < 20:
        parser.error(f"--draws {asked.draws}: a 90 % interval takes 20 or more")
    torch.set_num_threads(1)
    output = asked.output or Path("runs/benchmark-panel-quick" if asked.quick else "runs/benchmark-panel")
    sizes = (
        {"rows": 60, "test_rows": 30, "subsets": 1, "trees": 10, "seeds": (0,)}
        if asked.quick
        else {
            "rows": asked.rows,
            "test_rows": asked.test_rows,
            "subsets": asked.subsets,
            "seeds": tuple(asked.seeds),
        }
    )
    panel = Panel(output, draws=asked.draws, table=asked.table, quick=asked.quick, **sizes)
    results = Results(output, panel.settings())
    for part in asked.parts:
        for unit, work in panel.work(part, asked.methods):
            if unit in results or (asked.tables and unit.table not in asked.tables):
                continue
            start = time.perf_counter()
            try:
                results.keep(unit, work())
            except (mv.MetavoxelError, NotInstalledError) as error:
                print(f"{' '.join(map(str, unit))}: not measured. {error}", flush=True)
                continue
            print(f"{' '.join(map(str, unit))}: {time.perf_counter() - start:.0f} s", flush=True)
    found = tables(results)
    for name, table in found.items():
        print(f"\n{name}\n\n{table}")
    print(
        f"metavoxel {mv.__version__}, PyTorch {torch.__version__}, scikit-learn {sklearn.__version__}, "
        f"{torch.get_num_threads()} thread(s), {platform.machine()}."
    )
    if asked.publish:
        publish(found)


if __name__ == "__main__":
    main()
