"""Networks that describe slices by features, for the Fréchet distance and its kin."""
