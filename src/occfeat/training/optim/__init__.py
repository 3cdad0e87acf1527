"""What changes the weights: optimiser, learning rates and the average."""
