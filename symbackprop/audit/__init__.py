"""What is wrong with gradients that somebody derived by hand: right or wrong, weight by weight, and the mistake that explains the numbers."""
