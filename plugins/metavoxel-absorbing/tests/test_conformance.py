import metavoxel_absorbing

from metavoxel.testing import parametrize_checks, plugin_checks


@parametrize_checks(plugin_checks(metavoxel_absorbing))
def test_conformance(check):
    check.run()
