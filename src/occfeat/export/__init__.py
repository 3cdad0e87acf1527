"""Fine-tuned networks in formats that other programs run."""
