import metavoxel_text

from metavoxel.testing import parametrize_checks, plugin_checks


@parametrize_checks(plugin_checks(metavoxel_text))
def test_conformance(check):
    check.run()
