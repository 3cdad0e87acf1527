"""Which messages make a key frame: those of all sensors that are nearest in time to the reference sensor's.

One pass over the messages in the order of their arrival, with bounded memory: an image is forgotten as soon
as it can belong to no key frame.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LAG_US = 1_000_000
"""How much later than that of the reference sensor a message may arrive (this project's choice)."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A message of a sensor."""

    channel: str
    time_us: int
    """When the sensor measured."""
    log_us: int
    """When the message arrived at the recorder."""
    content: Any


@dataclass(frozen=True, eq=False)
class Chosen:
    """A key frame, or a LiDAR sweep between key frames."""

    at: Shot
    """The message of the reference sensor; or the sweep."""
    is_key: bool
    others: Mapping[str, Shot]
    """Messages of other sensors of the key frame, by channel."""


@dataclass(frozen=True)
class Rule:
    """Which messages belong together."""

    reference: str
    """Channel whose times are those of the key frames."""
    delays_us: Mapping[str, int]
    """How much later than the reference each channel measures. All channels but the reference."""
    lidars: frozenset[str]
    """Channels of LiDARs."""
    period_us: int
    """Time between key frames."""
    jitter_us: int
    """Largest difference in time, the delay taken off."""
    start_us: int
    """Earlier log times belong to the scene before."""
    end_us: int
    """This log time and later ones belong to the scene after."""


class KeyFrameChooser:
    """Chooses key frames from a stream of messages.

    Args:
        rule: Which messages belong together.
        left_out: Counts messages that are left out, by reason.
    """

    def __init__(self, rule: Rule, left_out: Counter[str]) -> None:
        self._rule, self._left_out = rule, left_out
        self._queues: dict[str, list[Shot]] = {channel: [] for channel in (rule.reference, *rule.delays_us)}
        self._latest: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._pending: list[Shot] = []
        self._candidate: Shot | None = None
        self._due_us: int | None = None
        self._step_us = 0

    def choose(self, shots: Iterable[Shot]) -> Iterator[Chosen]:
        """Yield key frames and, before each, the LiDAR sweeps that precede it."""
        for shot in shots:
            self._take(shot)
            while self._pending and self._is_complete(self._pending[0], shot.log_us):
                yield from self._key_frame(self._pending.pop(0))
            yield from self._forget(shot.log_us)
        self._decide_last()
        while self._pending:
            yield from self._key_frame(self._pending.pop(0))
        for channel in sorted(self._rule.lidars):
            yield from self._sweeps(channel, None)

    def _expected_us(self, shot: Shot) -> int:
        """Return the time of the key frame that a message would fit best."""
        return shot.time_us - self._rule.delays_us.get(shot.channel, 0)

    def _take(self, shot: Shot) -> None:
        """Add a message, in order of time."""
        queue = self._queues[shot.channel]
        is_late = shot.time_us <= self._latest.get(shot.channel, shot.time_us - 1)
        if is_late and (shot.time_us <= self._written.get(shot.channel, -1) or _has(queue, shot.time_us)):
            self._left_out[f"{shot.channel}: messages that repeat a stamp or come too late"] += 1
            return
        insort(queue, shot, key=lambda one: one.time_us)
        if is_late:
            return
        if shot.channel == self._rule.reference:
            self._step_us = shot.time_us - self._latest.get(shot.channel, shot.time_us)
        self._latest[shot.channel] = shot.time_us
        if shot.channel == self._rule.reference and self._rule.start_us <= shot.log_us < self._rule.end_us:
            self._decide(shot)

    def _decide(self, shot: Shot) -> None:
        """Choose a message of the reference sensor if it is the one nearest to the time that is due."""
        before, self._candidate = self._candidate, shot
        if self._due_us is None:
            self._begin(shot)
        elif shot.time_us >= self._due_us:
            is_nearer = before is not None and self._due_us - before.time_us < shot.time_us - self._due_us
            self._begin(before if before is not None and is_nearer else shot)

    def _decide_last(self) -> None:
        """Choose the last message of the reference sensor if the next one would not have been nearer."""
        last, half_us = self._candidate, self._step_us // 2
        if last is not None and self._due_us is not None and self._due_us - last.time_us <= half_us:
            self._begin(last)

    def _begin(self, shot: Shot) -> None:
        """Make a message the reference of a key frame."""
        self._pending.append(shot)
        self._due_us = shot.time_us + self._rule.period_us
        if self._candidate is shot:
            self._candidate = None

    def _is_complete(self, reference: Shot, now_us: int) -> bool:
        """Return whether nothing that belongs to a key frame can still arrive."""
        if now_us - reference.log_us >= LAG_US:
            return True
        delays = self._rule.delays_us.items()
        return all(self._latest.get(one, -1) - delay >= reference.time_us for one, delay in delays)

    def _key_frame(self, reference: Shot) -> Iterator[Chosen]:
        """Yield a key frame, after the sweeps before it."""
        others = {}
        for channel in self._rule.delays_us:
            nearest = min(
                self._queues[channel],
                key=lambda one: abs(self._expected_us(one) - reference.time_us),
                default=None,
            )
            if nearest is None or abs(self._expected_us(nearest) - reference.time_us) > self._rule.jitter_us:
                continue
            others[channel] = nearest
        for channel in sorted(self._rule.lidars):
            at = reference if channel == self._rule.reference else others.get(channel)
            yield from self._sweeps(channel, (at or reference).time_us)
        for shot in (reference, *others.values()):
            queue = self._queues[shot.channel]
            del queue[: queue.index(shot) + 1]
            self._written[shot.channel] = shot.time_us
        yield Chosen(reference, True, others)

    def _sweeps(self, channel: str, before_us: int | None) -> Iterator[Chosen]:
        """Yield the sweeps of a LiDAR before a time, and forget them."""
        queue = self._queues[channel]
        while queue and (before_us is None or queue[0].time_us < before_us):
            shot = queue.pop(0)
            self._written[channel] = shot.time_us
            if self._rule.start_us <= shot.log_us < self._rule.end_us:
                yield Chosen(shot, False, {})

    def _forget(self, now_us: int) -> Iterator[Chosen]:
        """Forget messages that can belong to no key frame; yield those that are sweeps."""
        rule = self._rule
        first_us = self._pending[0].time_us if self._pending else self._latest.get(rule.reference)
        for channel, queue in self._queues.items():
            oldest_us = now_us - 2 * LAG_US
            while queue and not (self._pending and queue[0] is self._pending[0]):
                in_time = first_us is None or self._expected_us(queue[0]) >= first_us - rule.jitter_us
                if queue[0] is self._candidate or (in_time and queue[0].log_us >= oldest_us):
                    break
                if channel in rule.lidars:
                    yield from self._sweeps(channel, queue[0].time_us + 1)
                else:
                    queue.pop(0)


def _has(queue: list[Shot], time_us: int) -> bool:
    """Return whether a message of this time is waiting."""
    return any(one.time_us == time_us for one in queue)
