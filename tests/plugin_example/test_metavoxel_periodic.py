import torch
from metavoxel_periodic import PeriodicCodecSpec, PeriodicSpec

from metavoxel.testing import codec_checks, parametrize_checks, variable_checks

HOURS = torch.tensor([6.5, 23.75, 0.25, 12.0])


@parametrize_checks(variable_checks(PeriodicSpec(period=24), [str(hour) for hour in HOURS.tolist()]))
def test_variable(check):
    check.run()


@parametrize_checks(codec_checks(PeriodicCodecSpec(period=24).build(()), HOURS))
def test_codec(check):
    check.run()


def test_the_mean_of_eleven_and_one_at_night_is_midnight():
    codec = PeriodicCodecSpec(period=24).build(())
    mean = codec.encode(torch.tensor([23.0, 1.0])).mean.mean(0, keepdim=True)
    hour = float(codec.decode(mean))
    assert min(hour, 24 - hour) < 1e-3
