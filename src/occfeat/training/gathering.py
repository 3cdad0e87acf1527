"""Texts of all processes of a run, sent as JSON: torch would send objects as pickles."""

import json
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric


def gather_texts(texts: Iterable[str], fabric: Fabric) -> list[list[str]]:
    """Return the texts of each process in turn, sorted; all processes must call it at once."""
    if fabric.world_size == 1:
        return [sorted(texts)]
    content = json.dumps(sorted(texts)).encode()
    mine = torch.tensor(list(content), dtype=torch.uint8, device=fabric.device)
    size = torch.tensor(len(mine), device=fabric.device)
    longest = int(torch.as_tensor(fabric.all_reduce(size, reduce_op="max")))
    padded = F.pad(mine, (0, longest - len(mine)), value=ord(" "))  # JSON may end in spaces
    everyones = [torch.empty_like(padded) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(everyones, padded)
    return [json.loads(bytes(row.tolist())) for row in everyones]
