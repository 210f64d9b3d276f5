"""Evaluate a trained model on its test part: errors, calibration, sample quality, and the report."""
