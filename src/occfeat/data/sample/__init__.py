"""The values between data and models: samples, batches and their parts."""
