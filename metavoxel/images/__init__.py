"""Images in space: grids, canonical orientation, resampling and file formats. Independent of variables."""
