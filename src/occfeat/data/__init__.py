"""From a data folder to batches: index, samples, labels, augmentation, collation."""
