#!/usr/bin/env python3
"""Writes images/*.png, images/*.jpg and images.txt, for tests/vision/test_image_*.c.

Each line of images.txt: file, alpha ("white", "ground", "ignore"), width, height, hash of the RGB bytes.
The ground is (10, 200, 90). The oracle is Pillow (13), save for 16-bit PNG, which Pillow partly cannot read
or clips: there it is the high byte of the values written here. PNGs are written by hand, because no library
at hand writes all depths and interlacing."""
import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageFile, ImageOps

from pixels import fnv1a, noise

ImageFile.MAXBLOCK = 1 << 20
HERE = pathlib.Path(__file__).parent
GROUND = (10, 200, 90)
WIDTH, HEIGHT = 13, 11
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
NAMES = {0: "gray", 2: "rgb", 3: "palette", 4: "graya", 6: "rgba"}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack_row(row, depth):
    """row: [n, channels] of sample values -> bytes."""
    flat = row.reshape(-1)
    if depth == 16:
        return flat.astype(">u2").tobytes()
    bits = "".join(format(int(v), f"0{depth}b") for v in flat)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def png(samples, colour, depth, interlaced, extra=()):
    height, width, _ = samples.shape
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    raw = b""
    for x, y, step_x, step_y in passes:
        part = samples[y::step_y, x::step_x]
        if part.size:
            raw += b"".join(b"\0" + pack_row(row, depth) for row in part)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    for kind, data in extra:
        out += chunk(kind, data)
    return out + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def expected(samples, colour, depth, palette, transparent):
    """RGBA bytes [height, width, 4] of 8 bits, from the meaning of the format."""
    key = np.zeros(samples.shape[:2], bool)
    if transparent is not None and colour in (0, 2):
        key = (samples == np.array(transparent)).all(-1)
    if colour == 3:
        rgb = palette[samples[..., 0]]
        alpha = np.array(list(transparent or []) + [255] * 256)[samples[..., 0]]
    else:
        wide = samples >> 8 if depth == 16 else samples * (255 // (2**depth - 1))
        n_colour = 3 if colour & 2 else 1
        rgb = np.repeat(wide, 3, -1) if n_colour == 1 and colour == 0 else wide[..., :n_colour]
        rgb = np.repeat(rgb, 3, -1) if rgb.shape[-1] == 1 else rgb
        alpha = wide[..., -1] if colour & 4 else np.where(key, 0, 255)
    return np.concatenate([rgb, alpha[..., None]], -1).astype(np.uint8)


def over(rgba, ground):
    picture = Image.fromarray(rgba, "RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", picture.size, ground + (255,)), picture))[..., :3]


def make_pngs(save):
    seed = 100
    for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            for interlaced in (False, True):
                for keyed in (False, True) if colour in (0, 2, 3) else (False,):
                    seed += 1
                    n = WIDTH * HEIGHT * CHANNELS[colour]
                    samples = noise(seed, 2 * n).view("<u2").astype(int) % 2**depth
                    samples = samples.reshape(HEIGHT, WIDTH, -1)
                    palette = noise(seed, 3 * 2 ** min(depth, 8)).reshape(-1, 3)
                    extra, transparent = [], None
                    if colour == 3:
                        extra.append((b"PLTE", palette.tobytes()))
                        if keyed:
                            transparent = noise(seed + 1, len(palette) // 2).tolist()
                            extra.append((b"tRNS", bytes(transparent)))
                    elif keyed:
                        transparent = samples[3, 4].tolist()
                        extra.append((b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
                    extra.insert(0, (b"gAMA", struct.pack(">I", 100000)))
                    data = png(samples, colour, depth, interlaced, extra)
                    rgba = expected(samples, colour, depth, palette, transparent)
                    if depth < 16 and not (colour == 0 and keyed):  # Pillow forgets to scale gray keys
                        assert (np.array(Image.open(io.BytesIO(data)).convert("RGBA")) == rgba).all()
                    name = f"{NAMES[colour]}{depth}{'_key' if keyed else ''}{'_adam7' if interlaced else ''}.png"
                    save(name, data, {"white": over(rgba, (255, 255, 255)), "ground": over(rgba, GROUND),
                                      "ignore": rgba[..., :3]})


def make_odd_pngs(save):
    """Orientation in eXIf, which Pillow's exif_transpose honours too; and a crowd of chunks nobody needs."""
    samples = noise(99, WIDTH * HEIGHT * 3).reshape(HEIGHT, WIDTH, 3).astype(int)
    turned = png(samples, 2, 8, False, [(b"eXIf", exif(6, True)[6:])])
    save("turned6.png", turned, {"white": np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(turned))))})
    crowd = [(b"tEXt", b"key\0value")] * 150 + [(b"iCCP", b"x\0\0" + zlib.compress(bytes(200000), 9))]
    crowd += [(b"prVt", b"?")] * 150 + [(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20), 9))]
    save("crowd.png", png(samples, 2, 8, False, crowd), {"white": samples.astype(np.uint8)})


def picture(seed, width, height, channels):
    """Smooth enough for JPEG, with an edge."""
    small = noise(seed, 4 * 3 * channels).reshape(3, 4, channels)
    planes = [Image.fromarray(np.ascontiguousarray(small[..., c])).resize((width, height), 3) for c in range(channels)]
    out = np.stack([np.array(p) for p in planes], -1)
    out[height // 3 :, width // 2 :] = 255 - out[height // 3 :, width // 2 :]
    return out


def exif(orientation, big_endian):
    order = ">" if big_endian else "<"
    tiff = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "I", 8)
    tiff += struct.pack(order + "H", 2)
    tiff += struct.pack(order + "HHII", 0x0100, 4, 1, 5)
    tiff += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack(order + "I", 0)
    return b"Exif\0\0" + tiff


def make_jpegs(save):
    def add(name, mode, seed, size=(37, 29), adobe=None, **options):
        pixels = picture(seed, *size, {"L": 1, "RGB": 3, "CMYK": 4}[mode])
        data = io.BytesIO()
        Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode).save(data, "JPEG", **options)
        data = data.getvalue()
        if adobe is not None:  # APP14's last byte tells how four components are coded
            at = data.index(b"Adobe") + 11
            data = data[:at] + bytes([adobe]) + data[at + 1 :]
        shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        save(name, data, {"white": np.array(shown)})

    add("rgb444.jpg", "RGB", 1, quality=85, subsampling=0)
    add("rgb422.jpg", "RGB", 2, quality=75, subsampling=1)
    add("rgb420.jpg", "RGB", 3, quality=60, subsampling=2)
    add("rgb420_restart.jpg", "RGB", 4, quality=60, subsampling=2, restart_marker_blocks=2)
    add("rgb_progressive.jpg", "RGB", 5, quality=80, progressive=True)
    add("rgb_stored.jpg", "RGB", 6, quality=90, keep_rgb=True)
    add("gray.jpg", "L", 7, quality=70)
    add("gray_progressive.jpg", "L", 8, quality=70, progressive=True)
    add("cmyk.jpg", "CMYK", 9, quality=85)
    add("ycck.jpg", "CMYK", 10, quality=85, adobe=2)
    add("cmyk_progressive.jpg", "CMYK", 11, quality=85, progressive=True)
    for orientation in range(1, 9):
        add(f"turned{orientation}.jpg", "RGB", 12, size=(21, 12), quality=80,
            exif=exif(orientation, orientation % 2 == 0))


def main():
    folder = HERE / "images"
    folder.mkdir(exist_ok=True)
    lines = []

    def save(name, data, results):
        (folder / name).write_bytes(data)
        for alpha, pixels in results.items():
            height, width, _ = pixels.shape
            lines.append(f"{name} {alpha} {width} {height} {fnv1a(pixels.tobytes()):016x}")

    make_pngs(save)
    make_odd_pngs(save)
    make_jpegs(save)
    (HERE / "images.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
