"""Objectives of pretraining: predictions, targets, losses and metrics."""
