from dataclasses import astuple

import numpy as np
import pytest

from streetworld.things import texture_parameters
from streetworld.things.objects import ObjectList

KINDS = [kind for name, kind in vars(texture_parameters).items() if name.endswith("Parameters")]


@pytest.mark.parametrize("kind", KINDS)
def test_parameters__are_read_by_name_as_they_were_given(kind: type) -> None:
    given = kind(*(1.5 + number for number in range(len(kind.__dataclass_fields__))))
    objects = ObjectList()
    objects.add("terrain")
    number = objects.add("building", parameters=given)
    parameters = objects.appearance().parameters
    assert len(KINDS) == 5
    assert astuple(texture_parameters.columns(kind, parameters[:, number])) == astuple(given)
    assert not np.any(parameters[:, 0])
