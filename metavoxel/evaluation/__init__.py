"""Judging a trained model: errors beside references, and pictures."""
