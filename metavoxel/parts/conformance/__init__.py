"""Checks that any codec, kernel, adapter, backbone, variable type or features keep their contract."""
