"""Objectives of pretraining: what the network predicts, from what it learns that, and how it is scored."""
