import metavoxel_vq

from metavoxel.testing import parametrize_checks, plugin_checks


@parametrize_checks(plugin_checks(metavoxel_vq))
def test_conformance(check):
    check.run()
