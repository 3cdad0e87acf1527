"""Show that a change of the code changes nothing that is computed.

    python experiments/same_results.py before.json      # then change the code
    python experiments/same_results.py after.json
    python experiments/same_results.py --compare before.json after.json

It builds a tiny street world, trains tiny networks in all ways that compute something of their own, and
writes down every metric with all digits, and hashes of files and weights. It knows the package only by what
`import occfeat` offers and by the files that a run leaves, so modules may move. Results are the same to the
last bit only on one machine, with the same versions of libraries. It takes some minutes, and 1.6 GB of disk.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import chdir
from importlib.metadata import version
from pathlib import Path
from typing import Any

import occfeat  # what takes long is imported later, as the process that builds the world imports this file

Settings = dict[str, Any]

SCENES: Settings = {"scenes": 3, "key_frames": 2, "val_scenes": 1, "test_scenes": 0, "town_size": 3}
SENSORS: Settings = {"image_size": (64, 112), "lights": ("noon", "wet"), "truth": True, "sweeps": 1}
ENGINE: Settings = {"device": "cpu", "workers": 0, "log_every": 1, "loggers": ()}
STUDENT: Settings = {"backbone": "test_efficientnet", "image_channels": 8, "bev_channels": 8}
SHARED: Settings = {
    "data": "world",
    "view": {"image_size": (48, 80)},
    "grid": {"lower_m": (-16, -16, -1), "upper_m": (16, 16, 3), "cell_m": (1, 1, 1)},
    "student": {**STUDENT, "backbone_weights": "none"},
    "optim": {"batch_size": 2, "epochs": 2, "weight_decay": 0.1},  # enough for float32 to show it
    "engine": ENGINE,
}
TEACHER: Settings = {"name": "test_vit", "weights": "test_vit.safetensors", "image_size": (64, 96)}
PRETRAINING: Settings = {**SHARED, "teacher": TEACHER, "head": {"channels": 8}, "queries": {"returns": 64}}
"""What pretraining runs have in common."""
BEVFORMER: Settings = {"kind": "bevformer", "layers": 2, "heads": 2}
LSS: Settings = {"kind": "lss", "depth_m": (1, 17), "depth_bins": 16}
PUBLISHED: Settings = {"kind": "simplebev-published"}
VIT: Settings = {"backbone": "test_vit", "backbone_weights": "test_vit.safetensors"}
LOADED: Settings = {"backbone_weights": "test_efficientnet.safetensors"}
PLACES: Settings = {"scale": (0.8, 1.2), "shift": 0.1, "image_rotation_deg": 5, "image_flip": True}
COLORS: Settings = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "corruptions": ("all",)}
AUGMENT: Settings = {**PLACES, **COLORS, "bev_rotation_deg": 20, "bev_flip": True}
PRETRAININGS: dict[str, Settings] = {
    "simplebev": {},
    "bevformer": {"student": BEVFORMER},
    "lss": {"student": LSS},
    "published": {"student": PUBLISHED},
    "published-aligned": {"student": {**PUBLISHED, "sampling": "aligned"}},
    "recipe": {"recipe": "paper-bevformer-b0+img-also"},
    "occupancy": {"loss": {"features": 0}},
    "unknown": {"loss": {"unknown": "ignore"}},
    "centred": {"loss": {"features": 0.3, "center": "mean"}},
    "branch": {"loss": {"features": 0.3}, "head": {"feature_channels": 8}},
    "distillation": {"loss": {"occupancy": 0, "features": 1}},
    "img-also": {"loss": {"occupancy": 0, "features": 0, "queries": 1}},
    "all-losses": {"loss": {"features": 0.3, "queries": 1, "unknown": "ignore"}, "head": {"blocks": 2}},
    "depth": {"student": LSS, "loss": {"depth": 1}},
    "cached": {"teacher_cache": "cache"},
    "block": {"teacher": {"block": 0, "normalize": False}},
    "augmented": {"augment": AUGMENT},
    "augmented-cached": {"augment": AUGMENT, "teacher_cache": "cache", "student": LSS, "loss": {"depth": 1}},
    "sweeps": {"view": {"sweeps": 2, "compensate_ego_motion": False}},
    "cameras": {"view": {"cameras": ("CAM_BACK", "CAM_FRONT")}},
    "micro-batches": {"optim": {"batch_size": 4, "micro_batch_size": 1, "epochs": 4, "clip_norm": 0.1}},
    "recomputed": {"student": BEVFORMER, "engine": {"recompute": True}},
    "vit": {"student": VIT},
    "lora": {"student": {**VIT, "lora_rank": 2}},
    "frozen-stem": {"student": {**LOADED, "freeze_stem": True}},
    "frozen-backbone": {"student": {**LOADED, "freeze_backbone": True}},
}
"""What is changed in each pretraining run."""
CLASSES = ("vehicle", "pedestrian", "drivable_area", "divider")
FINETUNINGS: dict[str, Settings] = {
    "started": {"start": "pretrain/simplebev", "optim": {"student_rate": 0.1}},
    "scratch": {"label_fraction": 0.5, "label_draw": "key-frame", "label_seed": 1},
    "linear": {"start": "pretrain/simplebev", "freeze": True},
    "maps": {"start": "pretrain/simplebev", "classes": CLASSES, "ignore_low_visibility": False},
    "augmented": {"student": LSS, "augment": AUGMENT, "classes": CLASSES},
    "bevformer": {"start": "pretrain/bevformer"},
    "lss": {"start": "pretrain/depth"},
    "published": {"start": "pretrain/published"},
    "lora": {"start": "pretrain/lora"},
}
"""What is changed in each fine-tuning run."""
ANALYSED = ("simplebev", "centred", "occupancy")


def main() -> int:
    """Compute everything, or compare what was computed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", help="file to write")
    parser.add_argument("--work", type=Path, help="new folder to work in, which is kept")
    parser.add_argument("--compare", type=Path, nargs=2, metavar="FILE", help="compare two of these files")
    given = parser.parse_args()
    if given.compare:
        return compare(*(dict(flatten(json.loads(file.read_bytes()))) for file in given.compare))
    if given.out is None:
        parser.error("name the file to write, or two to --compare")
    os.environ["OMP_NUM_THREADS"] = "1"  # sums depend on how they are split
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        with chdir(work):
            results = compute()
    given.out.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


def compute() -> Settings:
    """Compute everything, in the current folder."""
    occfeat.build_world("world", **SCENES, **SENSORS, workers=1)
    results: Settings = {"versions": {name: version(name) for name in ("numpy", "timm", "torch")}}
    results["world"] = hash_files(Path("world"))
    results["index"] = read_index(Path("world"))
    write_random_weights("test_vit", "test_efficientnet")
    results["cache"] = make_cache(Path("cache"))
    results["pretrain"] = {name: pretrain(name) for name in PRETRAININGS}
    results["finetune"] = {name: finetune(name) for name in FINETUNINGS}
    results["evaluate"] = evaluate("finetune/maps")
    results["analyse"] = {name: analyse(f"pretrain/{name}") for name in ANALYSED}
    return results


def hash_files(folder: Path) -> dict[str, str]:
    """Hash every file below a folder but the index, beside which the times of files are written down."""
    files = (file for file in folder.rglob("*") if file.is_file() and "occfeat-index-" not in file.name)
    return {file.relative_to(folder).as_posix(): sha256(file.read_bytes()) for file in files}


def read_index(world: Path) -> Settings:
    """Build the index; hash its columns, and read what it says of the whole set."""
    import pyarrow as pa

    occfeat.index(world)
    (file,) = world.rglob("occfeat-index-*.arrow")
    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
    texts = {name: json.dumps(table[name].to_pylist(), sort_keys=True) for name in table.column_names}
    columns = {name: sha256(text.encode()) for name, text in texts.items()}
    return {"columns": columns, "metadata": json.loads(table.schema.metadata[b"occfeat"])}


def write_random_weights(*networks: str) -> None:
    """Write random weights of networks of timm to files."""
    import timm
    import torch
    from safetensors.torch import save_file

    for name in networks:
        torch.manual_seed(0)
        save_file(timm.create_model(name, num_classes=0).state_dict(), f"{name}.safetensors")


def make_cache(out: Path) -> Settings:
    """Make a teacher cache and hash the tensors of its files."""
    from safetensors.torch import load_file

    settings: Settings = {"teacher": TEACHER, "dtype": "int8", "shard_size": 3, "engine": ENGINE}
    occfeat.cache("world", out, **settings)
    shards = {file.name: load_file(file) for file in out.glob("*.safetensors")}
    return {shard: {name: hash_tensor(each) for name, each in shards[shard].items()} for shard in shards}


def pretrain(name: str) -> Settings:
    """Pretrain in one of the ways."""
    run = occfeat.pretrain(out=f"pretrain/{name}", **merge(PRETRAINING, PRETRAININGS[name]))
    return read_run(run.path)


def finetune(name: str) -> Settings:
    """Fine-tune in one of the ways, and evaluate."""
    settings = merge(SHARED, {**FINETUNINGS[name], "pictures": 0})
    if "start" in settings:  # which says what the student is
        del settings["student"]
    run = occfeat.finetune(out=f"finetune/{name}", **settings)
    evaluation = json.loads((run.path / "evaluation-val" / "results.json").read_bytes())
    return {**read_run(run.path), "evaluation": evaluation}


def evaluate(run: str) -> Settings:
    """Evaluate a fine-tuning run under one corruption."""
    settings: Settings = {"data": "world", "corruptions": ("Snow",), "pictures": 0, "engine": ENGINE}
    out = occfeat.evaluate(run, **settings).path
    return {file.name: json.loads(file.read_bytes()) for file in out.glob("*.json")}


def analyse(run: str) -> Settings:
    """Analyse what a pretraining run has learned."""
    settings: Settings = {"split": "train", "voxels": 200, "clusters": 4, "device": "cpu"}
    out = occfeat.analyse(run, data="world", **settings).path
    found: Settings = json.loads((out / "analysis.json").read_bytes())
    return found


def merge(below: Settings, above: Settings) -> Settings:
    """Merge settings and their sections; those above count."""
    both = {name: {**below.get(name, {}), **above[name]} for name in above if isinstance(above[name], dict)}
    return {**below, **above, **both}


def read_run(run: Path) -> Settings:
    """Read the metrics of a run but times; hash what ships by name, and the whole network without names."""
    import torch
    from safetensors.torch import load_file

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_bytes().splitlines()]
    shipped = load_file(run / "weights.safetensors")
    checkpoint = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    return {
        "rows": [{name: row[name] for name in row if not name.startswith("time/")} for row in rows],
        "weights": hash_all(f"{name} {hash_tensor(tensor)}" for name, tensor in shipped.items()),
        "checkpoint": hash_all(hash_tensor(tensor) for tensor in checkpoint["network"].values()),
    }


def hash_tensor(tensor: Any) -> str:
    """Hash kind, shape and values of a tensor."""
    values = tensor.contiguous().numpy()
    return sha256(f"{values.dtype} {values.shape} ".encode() + values.tobytes())


def hash_all(parts: Iterable[str]) -> str:
    """Hash texts in whatever order they come."""
    return sha256("\n".join(sorted(parts)).encode())


def sha256(content: bytes) -> str:
    """Hash bytes."""
    return hashlib.sha256(content).hexdigest()


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Name every single value, and write it as text."""
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flatten(inner, f"{name}/{key}" if name else str(key))
    else:
        yield name, json.dumps(value)


def compare(before: dict[str, str], after: dict[str, str]) -> int:
    """Print what differs; gives 1 if anything does."""
    names = sorted(before.keys() | after.keys())
    differing = [name for name in names if before.get(name) != after.get(name)]
    for name in differing:
        print(f"{name}: {before.get(name, 'absent')} / {after.get(name, 'absent')}")
    if not differing:
        print(f"All {len(names)} entries are equal.")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
