"""Settings that experiments on the street share."""

from typing import Any

from occfeat.data.maps.masks import LAYERS

TURNED: dict[str, Any] = {"bev_flip": True, "bev_rotation_deg": 180}
"""How key frames are turned at random."""
PACKAGED: dict[str, Any] = {"name": "packaged", "image_size": (224, 392)}
TRUTH: dict[str, Any] = {"name": "truth", "image_size": (224, 400)}
"""Teachers: the packaged one, and the world's truth, as `oracle_cache.py` writes it."""
CLASSES = ("vehicle", *LAYERS)
CHOSEN: dict[str, Any] = {"features": 0.3, "center": "mean"}
"""The loss that did best on the validation town of the first three experiments."""
