"""What is known of all variables before a network has learnt anything: a Gaussian, or a mixture of a few."""
