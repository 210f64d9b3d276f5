import pytest
import torch
from metavoxel_ordinal import OrdinalSpec
from pydantic import ValidationError

from metavoxel.inference.summaries import mean_cells


@pytest.mark.parametrize(
    ("point", "probabilities", "level"),
    [("median", [0.4, 0.25, 0.35], "1"), ("likeliest", [0.4, 0.25, 0.35], "0"), ("median", [0.5, 0.3, 0.2], "0")],
)
def test_the_predicted_level(point, probabilities, level):
    spec = OrdinalSpec(levels=["0", "1", "2"], point=point)
    (cells,) = mean_cells("grade", spec, spec.parts().codec.build(()), torch.tensor([probabilities]))
    assert cells["grade"] == level
    assert [cells[f"grade_p[{label}]"] for label in "012"] == pytest.approx(probabilities)


def test_levels_are_parsed_as_categories_are():
    spec = OrdinalSpec(levels={"none": 0, "mild": 0.5})
    assert int(spec.parse("0.5")) == 1 and spec.format(torch.tensor(1)) == "mild"
    assert int(spec.parse("0.0")) == 0 and spec.parse("0.50").rule.startswith("unknown category")
    with pytest.raises(ValidationError, match="two labels have the code 1"):
        OrdinalSpec(levels={"none": 1, "mild": "1.0"})


def test_codes_have_precedence_over_labels_in_a_table():
    spec = OrdinalSpec(levels={"0": 1, "1": 2, "2": 3})
    assert [int(spec.parse(cell)) for cell in "123"] == [0, 1, 2]
    assert [int(spec.parse_given(cell)) for cell in "012"] == [0, 1, 2]
    assert len(spec.warnings()) == 2 and spec.label_codes() == {"0": "1", "1": "2", "2": "3"}
