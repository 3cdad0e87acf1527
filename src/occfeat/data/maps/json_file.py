"""Maps in JSON files: how they are read, and errors that say where to get them again."""

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from occfeat.errors import DatasetError


@dataclass(frozen=True)
class MapFormat:
    """A kind of JSON file with the layers of a map."""

    name: str
    """Noun for messages, such as `Map expansion`."""
    hint: str
    """Where to get a damaged file again."""
    max_bytes: int
    """Largest size of a file in bytes."""

    def read(self, path: Path) -> dict[str, Any]:
        """Return the content of a file, by layer.

        Raises:
            DatasetError: It cannot be read, is too large, or is not an object in JSON.
        """
        try:
            if path.stat().st_size > self.max_bytes:
                raise DatasetError(f"{self.name} {path} has more than {self.max_bytes:,} bytes.")
            document = orjson.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8))
        except OSError as error:
            raise DatasetError(f"{self.name} {path} cannot be read: {error.strerror or error}.") from error
        except orjson.JSONDecodeError as error:
            raise self.damaged(path, f"is not valid JSON near byte {error.pos:,}: {error.msg}") from error
        if not isinstance(document, dict):
            raise self.damaged(path, "does not contain named layers")
        return document

    def damaged(self, path: Path, what: str) -> DatasetError:
        """Return the error for an unusable file."""
        return DatasetError(f"{self.name} {path} {what}.", hint=self.hint)
