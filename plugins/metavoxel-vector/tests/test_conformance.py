import metavoxel_vector

from metavoxel.testing import parametrize_checks, plugin_checks


@parametrize_checks(plugin_checks(metavoxel_vector))
def test_conformance(check):
    check.run()
