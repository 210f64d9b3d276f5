"""From native heads to a BIDS derivative: brain extraction, bias correction, rigid registration, one interpolation."""
