"""Codecs: how a variable's data become the code that is diffused, and back."""
