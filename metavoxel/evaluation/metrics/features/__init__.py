"""Feature networks of image slices, for FID, KID, precision and recall."""
