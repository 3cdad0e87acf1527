"""What `occfeat import --inspect` reports: topics, rates, frames, cameras, gaps and problems, and a draft."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from occfeat.commands.outcome import Outcome
from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.inspect import inspect_bag
from occfeat.data.recordings.bags.summary import BagSummary, TopicSummary
from occfeat.data.recordings.from_bags.draft import Draft, draft_rig
from occfeat.errors import RunError
from occfeat.machine.atomic import write_text_atomic


def inspect_bags(bags: Sequence[Sequence[Path]], out: Path) -> Outcome:
    """Report what bags hold, and write a draft of the rig file of the first one.

    Args:
        bags: The bags of each recording.
        out: The rig file.

    Raises:
        DatasetError: A bag cannot be read at all.
        RunError: The rig file exists, or cannot be written.
    """
    if out.exists():
        raise RunError(f"{out} exists already.", hint="Choose another file by --rig, or remove it.")
    lines: list[str] = []
    summaries = []
    for paths in bags:
        with open_bag(paths) as bag:
            summaries.append(inspect_bag(bag))
        lines += [", ".join(map(str, paths)), *_report(summaries[-1])]
        if missing := _sensors(summaries[0]) - _sensors(summaries[-1]):
            lines.append(f"  ! It lacks topics of the first recording: {', '.join(sorted(missing))}.")
        lines.append("")
    draft = draft_rig(summaries[0])
    write_text_atomic(out, draft.text)
    return Outcome("\n".join([*lines, *_next_step(draft, out), str(out)]))


def _sensors(summary: BagSummary) -> set[str]:
    """Return the topics of cameras and LiDARs."""
    return {one.topic for one in summary.cameras} | {one.topic for one in summary.lidars}


def _report(summary: BagSummary) -> Iterator[str]:
    """Yield what one recording holds."""
    width = max(map(len, summary.topics), default=0)
    for name, topic in summary.topics.items():
        yield f"  {name:<{width}}  {topic.kind}, {', '.join(_about(summary, topic))}"
    for tree in summary.frames.trees():
        yield f"  frames: {', '.join(tree)}"
    sources = [one.topic or f"tf, {one.poses.global_frame}" for one in summary.pose_sources]
    yield f"  car: {summary.ego_frame or 'unknown frame'}; poses: {'; '.join(sources) or 'none'}"
    yield from (f"  ! {fault}" for fault in summary.faults)


def _about(summary: BagSummary, topic: TopicSummary) -> Iterator[str]:
    """Yield number, rate, frame, size and lens of a topic."""
    yield f"{topic.count} messages"
    if topic.stamps is not None:
        yield f"{topic.stamps.rate_hz:.1f} Hz"
    yield from (f"frame {frame}" for frame in topic.frames[:1] if frame)
    for camera in summary.cameras:
        if camera.topic == topic.name:
            yield from (f"{width} x {height}" for height, width in camera.sizes[:1])
            yield camera.model.lens.model if camera.model else "not calibrated"
    for lidar in summary.lidars:
        if lidar.topic == topic.name:
            yield f"{lidar.points} points"


def _next_step(draft: Draft, out: Path) -> list[str]:
    """Return what to do with a draft."""
    if draft.obstacles:
        return ["Before the draft works:", *(f"  - {obstacle}" for obstacle in draft.obstacles)]
    return [f"Read the draft, then: occfeat import BAG --rig {out} --out DRIVE"]
