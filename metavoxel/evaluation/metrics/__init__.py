"""Metrics of predictions and samples, with their uncertainty."""
