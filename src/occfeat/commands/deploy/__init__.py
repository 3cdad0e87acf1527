"""Commands that use a fine-tuned network: `predict`, `export` and `convert`."""
