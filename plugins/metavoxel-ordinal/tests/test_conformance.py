import metavoxel_ordinal

from metavoxel.testing import parametrize_checks, plugin_checks


@parametrize_checks(plugin_checks(metavoxel_ordinal))
def test_conformance(check):
    check.run()
