"""Images in space: grids, canonical orientation, resampling, and the files that hold them. Knows no variable."""
