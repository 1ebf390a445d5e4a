"""Text files: their encoding, found in one pass, and their lines."""

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tables.file_bytes import FileBytes

MAX_LINE = 16_000_000  # characters; keeps the memory bounded where a file has no line ends
_CHUNK = 1 << 20
_HIGH_RUN = re.compile(rb"[\x80-\xff]{4,}")
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = bytes(range(0x80, 0x100))
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_NAMES = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8 with a mark", "utf-16": "UTF-16", "utf-32": "UTF-32"}


def encoding_of(source: FileBytes) -> str:
    """The codec of a text file: UTF-8, UTF-16 or UTF-32 with a byte order mark, or plausibly Windows-1252.

    The whole file is checked, a part at a time. Raises UserError for a file that is empty or in another encoding.
    """
    head = source.head(4)
    codec = next((codec for mark, codec in _BOMS if head.startswith(mark)), "utf-8")
    start = _first_misfit(source, codec)
    if start is None:
        return codec
    if codec != "utf-8" or not _plausible_cp1252(source):
        raise UserError(
            f"{source.name} is neither UTF-8 nor another encoding that can be told (byte {start:,} does not "
            f"fit {codec.removesuffix('-sig')}); save it as UTF-8."
        )
    return "cp1252"


def encoding_name(codec: str) -> str:
    """The name of a codec in messages."""
    return _NAMES.get(codec, "Windows-1252")


@contextmanager
def opened_text(source: FileBytes, codec: str) -> Iterator[TextIO]:
    """Open a text file; line ends stay as written."""
    with source.open() as stream, io.TextIOWrapper(stream, encoding=codec, newline="") as text:
        yield text


def lines(source: FileBytes, codec: str) -> Iterator[str]:
    """Yield the lines of a text file with their ends. Raises UserError for a line of MAX_LINE characters or more."""
    with opened_text(source, codec) as text:
        number = 0
        while line := text.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE:
                raise UserError(f"{source.name}, line {number}: more than {MAX_LINE:,} characters without a line end.")
            yield line


def _chunks(source: FileBytes) -> Iterator[bytes]:
    with source.open() as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _first_misfit(source: FileBytes, codec: str) -> int | None:
    """The index of the first byte that does not fit the codec; None where all fit.

    Raises UserError for a null byte and for a file without any letter.
    """
    decoder = codecs.getincrementaldecoder(codec)()
    n_read, n_lines, blank = 0, 0, True
    for chunk in _parts_and_end(source):
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            return n_read - pending + error.start
        n_read += len(chunk)
        if "\0" in text:
            where = f"line {n_lines + text[: text.index(chr(0))].count(chr(10)) + 1}"
            raise UserError(
                f"{source.name}, {where}: a null byte, so it is no text or UTF-16 without a mark; save it as UTF-8."
            )
        n_lines += text.count("\n")
        blank = blank and not text.strip()
    if blank:
        raise UserError(f"{source.name} is empty.")
    return None


def _parts_and_end(source: FileBytes) -> Iterator[bytes]:
    yield from _chunks(source)
    yield b""


def _plausible_cp1252(source: FileBytes) -> bool:
    """Whether bytes that are not UTF-8 look like Western text, whose accented letters stand alone.

    Long runs of high bytes are another alphabet. Bytes that mostly form UTF-8 sequences are damaged UTF-8.
    """
    high = in_utf8 = 0
    rest = b""  # high bytes at the end of the last part: a sequence may go on in the next one
    for chunk in _parts_and_end(source):
        part = rest + chunk
        cut = len(part.rstrip(_HIGH)) if chunk else len(part)
        part, rest = part[:cut], part[cut:]
        try:
            part.decode("cp1252")
        except UnicodeDecodeError:
            return False
        if len(rest) > 3 or _HIGH_RUN.search(part) or b"\0" in part:
            return False
        high += len(part) - len(part.translate(None, _HIGH))
        in_utf8 += sum(map(len, _UTF8_SEQUENCE.findall(part)))
    return 2 * in_utf8 < high
