"""The section on training."""

from metavoxel.evaluation.report.sections import training_section


def test_losses_and_what_is_suspicious_are_in_the_report():
    age = {"loss": 0.4, "baseline": 0.5, "network": 0.9, "training": 0.3, "network_weight": 0.5, "rows": 9.0}
    noise = {"loss": 1.0, "baseline": 1.0, "network_weight": 0.0, "rows": 9.0}  # of a run before losses were compared
    section = training_section({"loss_spikes": 2, "validation": {"age": age, "noise": noise}})
    text = " ".join(section.words)
    assert "2 training steps had a loss several times its average" in text
    assert "age: the network overfits" in text and "noise: no better than its prior" in text
    (table,) = section.tables
    assert table.figures.columns == [
        "variable", "validation", "baseline alone", "network, validation", "network, training", "network weight",
    ]  # fmt: skip
    assert table.figures.shown() == [
        ["age", "0.400", "0.500", "0.900", "0.300", "0.500"],
        ["noise", "1.00", "1.00", "—", "—", "0"],
    ]
    assert not training_section({})
