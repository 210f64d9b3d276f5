import metavoxel_rectified_flow

from metavoxel.testing import parametrize_checks, plugin_checks


@parametrize_checks(plugin_checks(metavoxel_rectified_flow))
def test_conformance(check):
    check.run()
