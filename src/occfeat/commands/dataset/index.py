"""`occfeat index`: build the index of a data folder and print a summary."""

from occfeat.commands.outcome import Outcome
from occfeat.data.index.index import Index
from occfeat.settings.commands import IndexConfig


def index(config: IndexConfig) -> Outcome:
    """Build the index if it is absent, stale or asked for anew.

    Raises:
        DatasetError: The tables cannot be read.
    """
    opened = Index.open(config.source, rebuild=config.rebuild)
    counts = {name: len(opened.rows(name)) for name in ("all", *opened.splits()) if name != "all"}
    lines = [f"{opened.source.title}: {len(opened)} key frames, tables {opened.fingerprint[:12]}"]
    lines += [f"  {name}: {count} key frames" for name, count in counts.items() if count]
    return Outcome("\n".join([*lines, str(opened.file)]))
