"""Pretrain camera-only bird's-eye-view networks from unlabelled drives."""
