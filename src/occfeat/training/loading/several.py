"""Key frames of several data sets, read as if they were of one."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from occfeat.data.dataset import BrokenKeyFrame, Draw, KeyFrames
from occfeat.data.index.sets import DataSet, DataSets
from occfeat.data.sample.sample import Sample


class SeveralKeyFrames:
    """A source of batches whose rows are those of `DataSets`; samples know the name of their data set.

    Args:
        sets: The data sets.
        make: Returns the key frames of one of them.
    """

    def __init__(self, sets: DataSets, make: Callable[[DataSet], KeyFrames]) -> None:
        self.sets = sets
        self.each = tuple(make(one) for one in sets.each)

    def read(self, draw: Draw) -> Sample | BrokenKeyFrame:
        """Read a key frame in an epoch, or return why it cannot be read."""
        number = int(self.sets.number_of(np.array([draw.row]))[0])
        one = self.sets.each[number]
        read = self.each[number].read(Draw(draw.row - one.first, draw.epoch))
        if isinstance(read, Sample):
            lost = tuple(f"Data set {one.name}: {message}" for message in read.lost_images)
            return replace(read, data_set=one.name, lost_images=lost)
        return BrokenKeyFrame(f"{one.name}/{read.token}", f"Data set {one.name}: {read.message}")


def key_frames_of_sets(sets: DataSets, make: Callable[[DataSet], KeyFrames]) -> KeyFrames | SeveralKeyFrames:
    """Return the key frames of one data set, or of several."""
    return make(sets.each[0]) if len(sets.each) == 1 else SeveralKeyFrames(sets, make)
