"""What a variable contributes to the Gaussian baseline: features of its code, their likelihood, and the way back."""
