"""What the golden scripts of vision share: test pictures without files, and the hash the C tests use."""
import numpy as np


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in bytes(data):
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def noise(seed, n):
    """n bytes of the generator in tests/vision/pixels.h; every third block of 64 only has 0 and 255."""
    out = np.empty(n, np.uint8)
    state = seed
    for i in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        byte = state >> 56
        out[i] = (255 if byte >= 128 else 0) if i // 64 % 3 == 2 else byte
    return out
