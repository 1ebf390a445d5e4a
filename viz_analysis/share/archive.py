"""An archive of JSON values, from which a browser can read a few without the others.

A block is a JSON value that is compressed by itself. Blocks follow each other in packs: files of about 4 MB named
`0.bin`, `1.bin`, … Every block lies in one pack. Its address counts the bytes of all packs before it. The manifest says
where blocks are:

| key | content |
| --- | --- |
| `packs` | the bytes of each pack |
| `parts` | name → [start, end] of a single block |
| `tables` | name → {`per`, `start`, `index`}: blocks of `per` records each, the first of them at `start` |
| `words` | name → {`start`, `index`}: blocks of records that begin with a word, in the order of the words |

`index` is the [start, end] of one more block, which holds the lengths of the table's blocks. For words, it also holds
the first word of each block.
"""

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

PACK_BYTES = 4 << 20
_NUMBERS_PER_BLOCK = 8_000  # of a table of words
Place = tuple[int, int]


class ArchiveWriter:
    """Writes the packs of an archive into a folder. `level` is zlib's, 1 to 9."""

    def __init__(self, folder: Path, level: int = 9) -> None:
        self._folder, self._level = folder, level
        self._packs: list[int] = []
        self._end = 0
        self._parts: dict[str, Place] = {}
        self._tables: dict[str, dict[str, Any]] = {}
        self._words: dict[str, dict[str, Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def manifest(self) -> dict[str, Any]:
        """The manifest, which says where all blocks are."""
        return {"packs": self._packs, "parts": self._parts, "tables": self._tables, "words": self._words}

    def part(self, name: str, value: Any) -> None:
        """Add one value. Arrays of numpy become lists."""
        self._parts[name] = self._block(_json(value))

    def table(self, name: str, per: int, records: Iterable[Any]) -> None:
        """Add records that a reader finds by their number, from 0. A record is a value, or JSON as bytes."""
        start, lengths, block = self._end, list[int](), list[bytes]()

        def close() -> None:
            if block:
                first, end = self._block(b"[" + b",".join(block) + b"]")
                lengths.append(end - first)
                block.clear()

        for record in records:
            block.append(record if isinstance(record, bytes) else _json(record))
            if len(block) == per:
                close()
        close()
        self._tables[name] = {"per": per, "start": start, "index": self._block(_json({"lengths": lengths}))}

    def words(self, name: str, records: Iterable[tuple[str, list[int]]]) -> None:
        """Add records (word, numbers) in the order of the words' code points."""
        start, lengths, firsts = self._end, list[int](), list[str]()
        block: list[tuple[str, list[int]]] = []
        size = 0

        def close() -> None:
            if block:
                first, end = self._block(_json(block))
                lengths.append(end - first)
                firsts.append(block[0][0])
                block.clear()

        for word, numbers in records:
            block.append((word, numbers))
            size += 1 + len(numbers)
            if size >= _NUMBERS_PER_BLOCK:
                close()
                size = 0
        close()
        self._words[name] = {"start": start, "index": self._block(_json({"lengths": lengths, "firsts": firsts}))}

    def _block(self, text: bytes) -> Place:
        data = zlib.compress(text, self._level)
        if not self._packs or self._packs[-1] + len(data) > PACK_BYTES:
            self._packs.append(0)
        with (self._folder / f"{len(self._packs) - 1}.bin").open("ab") as pack:
            pack.write(data)
        self._packs[-1] += len(data)
        self._end += len(data)
        return self._end - len(data), self._end


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
