"""The sizes of image files in bytes, by which an image cache knows them again."""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.check.files import image_files
from occfeat.data.check.listing import Listing
from occfeat.data.index.index import Index


def image_bytes(index: Index, rows: Int64[ndarray, " n"], cameras: tuple[str, ...]) -> Int64[ndarray, "n N"]:
    """Return the sizes of the image files of key frames, from listings of their folders.

    Args:
        index: The index of the data set.
        rows: Key frames.
        cameras: Cameras, in order.

    Returns:
        Bytes; 0 for a camera that a key frame lacks, negative for a file that is missing.
    """
    sizes = np.zeros((len(rows), len(cameras)), dtype=np.int64)
    place = {int(row): number for number, row in enumerate(rows)}
    listing = Listing(index.root)
    for number, camera in enumerate(cameras):
        for file in image_files(index, rows, (camera,)):
            sizes[place[file.row], number] = listing.look_up(file.path).size
    return sizes
