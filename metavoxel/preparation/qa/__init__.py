"""Visual quality control of a derivative: a local page, and the table of its raters' decisions."""
