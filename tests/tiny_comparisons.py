"""Artificial results of a comparison method."""

import json


def write_comparison(run, method, predictions, **record):
    """Write the record of a method and a table of predictions for each target."""
    folder = run / "comparisons" / method
    folder.mkdir(parents=True)
    targets = {target: ["score"] for target in predictions}
    record = {"method": method, "training_seconds": 3.5, "seconds_a_row": 0.01, "evaluations": 1, "parameters": 42,
              "failed": None, "targets": targets, **record}  # fmt: skip
    (folder / "record.json").write_text(json.dumps(record))
    for target, table in predictions.items():
        table.to_csv(folder / f"predictions-{target}.tsv", sep="\t", index=False)
    return folder
