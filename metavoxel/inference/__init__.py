"""Inference with a trained model: evidence from tables, conditional draws and means, and tables of the results."""
