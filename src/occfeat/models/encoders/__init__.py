"""Image encoders: images to features at stride 8."""
