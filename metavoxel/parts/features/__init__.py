"""Features of a variable's code in the Gaussian baseline, their likelihood, and the outputs computed from them."""
