"""BEV segmentation: head, loss, pooled IoU."""
