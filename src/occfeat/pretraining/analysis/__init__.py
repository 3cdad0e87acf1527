"""Analysis of pretrained features: linear probes, clusters, agreement with the teacher."""
