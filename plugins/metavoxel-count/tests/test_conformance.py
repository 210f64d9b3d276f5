import metavoxel_count

from metavoxel.testing import parametrize_checks, plugin_checks


@parametrize_checks(plugin_checks(metavoxel_count))
def test_conformance(check):
    check.run()
