"""Joint diffusion over images and clinical metadata."""
