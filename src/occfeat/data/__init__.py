"""From a data folder to batches: index, reading, labels, augmentation, collation."""
