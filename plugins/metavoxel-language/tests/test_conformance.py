import metavoxel_language

from metavoxel.testing import parametrize_checks, plugin_checks


@parametrize_checks(plugin_checks(metavoxel_language))
def test_conformance(check):
    check.run()
