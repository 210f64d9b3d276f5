"""Preparation of native heads as a BIDS derivative: extraction, bias correction, registration, one interpolation."""
