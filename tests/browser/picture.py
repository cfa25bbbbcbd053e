"""Screenshots as small PNG files: 256 colours are enough for a screen."""

from __future__ import annotations

import base64
import struct
import zlib
from collections import Counter

from playwright.sync_api import Page

COLOURS = 256
EXACT = 64
ALIKE = 300  # a squared distance in red, green and blue

# Decoded by the browser; alpha is dropped.
_PIXELS = """async source => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const data = context.getImageData(0, 0, image.width, image.height).data;
    const rgb = new Uint8Array(data.length / 4 * 3);
    for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
        rgb[to] = data[from];
        rgb[to + 1] = data[from + 1];
        rgb[to + 2] = data[from + 2];
    }
    return [image.width, image.height, rgb.toBase64()];
}"""


def small(screenshot: bytes, blank: Page) -> bytes:
    """The same image with a palette. `blank` is an empty page of the browser."""
    source = "data:image/png;base64," + base64.b64encode(screenshot).decode()
    width, height, encoded = blank.evaluate(_PIXELS, source)
    pixels = base64.b64decode(encoded)
    colours = list(struct.iter_unpack("3B", pixels))
    palette = _palette([colour for colour, _ in Counter(colours).most_common()])
    index = {colour: number for number, colour in enumerate(palette)}
    for colour in set(colours) - index.keys():
        index[colour] = index[min(palette, key=lambda each: _distance(each, colour))]
    rows = b"".join(
        b"\0" + bytes(map(index.__getitem__, colours[row * width : (row + 1) * width]))
        for row in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", b"".join(bytes(colour) for colour in palette)),
            _chunk(b"IDAT", zlib.compress(rows, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _palette(by_frequency: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The most frequent colours, then those unlike all before, so that small icons keep theirs."""
    palette = by_frequency[:EXACT]
    for colour in by_frequency[EXACT:]:
        if len(palette) == COLOURS:
            break
        if all(_distance(each, colour) > ALIKE for each in palette):
            palette.append(colour)
    return palette


def _distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
