"""`occfeat import`: recordings become a data set in nuScenes format."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import yaml

from occfeat.commands.dataset.import_inspection import inspect_bags
from occfeat.commands.dataset.import_report import report_import
from occfeat.commands.outcome import Outcome
from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.inspect import inspect_bag
from occfeat.data.recordings.folders import find_recordings
from occfeat.data.recordings.from_bags.draft import draft_rig
from occfeat.data.recordings.from_bags.plan import plan_recordings
from occfeat.data.recordings.recording import Recording
from occfeat.data.recordings.rig_file import RigFile, build_rig_file, read_rig_file
from occfeat.data.recordings.write import FOLDER, write_recordings
from occfeat.errors import DatasetError
from occfeat.machine.atomic import write_text_atomic
from occfeat.settings.commands import ImportConfig

FORMAT = 1
"""Raised whenever the same recordings and settings make another data set than before."""


def import_recordings(config: ImportConfig) -> Outcome:
    """Write recordings as a data set, check it and draw its calibration; or inspect them.

    Raises:
        OccFeatError: A recording or the rig file cannot be used, or the folder holds something else, cannot
            be written or is in use.
        KeyboardInterrupt: After Ctrl-C or SIGTERM; the same command continues.
    """
    bags = [list(config.recordings)] if config.join else [[path] for path in config.recordings]
    if config.out is None:
        return inspect_bags(bags, config.rig or Path("rig.yaml"))
    folders = find_recordings(config.recordings, key_hz=config.key_hz, sweeps=config.sweeps)
    if folders:
        return _import(config, config.out, folders, {"key_hz": config.key_hz, "sweeps": config.sweeps})
    rig = _draft(bags[0]) if config.rig is None else read_rig_file(config.rig)
    values = rig.model_dump(mode="json")
    outcome = _import(config, config.out, plan_recordings(bags, rig), {"join": config.join, "rig": values})
    used = yaml.safe_dump(rig.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    write_text_atomic(config.out / FOLDER / "rig.yaml", used)
    return outcome


def _import(
    config: ImportConfig, out: Path, recordings: Sequence[Recording], settings: Mapping[str, object]
) -> Outcome:
    """Write recordings, check them and draw their calibration."""
    files = [[path.name, _size(path)] for path in config.recordings]
    content = {"format": FORMAT, "recordings": files, **settings}
    made_from = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    results = write_recordings(out, recordings, made_from=made_from, workers=config.workers)
    return report_import(out, results, has_poses=all(one.has_poses for one in recordings))


def _draft(paths: Sequence[Path]) -> RigFile:
    """Return the draft of a rig file.

    Raises:
        DatasetError: It does not suffice.
    """
    with open_bag(paths) as bag:
        draft, damage = draft_rig(inspect_bag(bag)), bag.damage
    if draft.obstacles:
        hint = "Write a draft by `occfeat import BAG --inspect`, complete it, and give it by `--rig`."
        raise DatasetError("The bag does not say all of its rig.", first=draft.obstacles + damage, hint=hint)
    return build_rig_file(yaml.safe_load(draft.text), Path("draft"))


def _size(path: Path) -> int:
    """Return the size of a recording in bytes, with everything in its folders.

    Raises:
        DatasetError: It does not exist.
    """
    try:
        files = path.rglob("*") if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())
    except OSError as error:
        raise DatasetError(f"The recording {path} cannot be read: {error.strerror or error}.") from error
