"""Frame loops with NumPy and with OpenCV, at 1080p and 4K: where each step's result goes is what differs.

A frame is copied in, blurred (OpenCV) or averaged (NumPy), compared with the frame four frames ago, and reduced to a mask;
the last four results stay alive, as in motion detection.

    frames.py PEER WORK SIZE[,SIZE...] [--ms N]        SIZE: bytes of a frame of three colours
"""

from __future__ import annotations

import sys
import zlib
from typing import Any

import harness
import numpy as np

SHAPES = {1920 * 1080 * 3: (1080, 1920, 3), 3840 * 2160 * 3: (2160, 3840, 3)}
BEHIND, BATCH = 4, 8


class Fresh:
    """Each result is an array of its own, made by the library."""

    def take(self, shape: tuple[int, ...]) -> Any:
        return None, None

    def give(self, owner: Any) -> None:
        pass


class Kept:
    """Arrays from lists by shape, given back by hand."""

    def __init__(self) -> None:
        self.free: dict[tuple[int, ...], list[Any]] = {}

    def take(self, shape: tuple[int, ...]) -> Any:
        free = self.free.setdefault(shape, [])
        array = free.pop() if free else np.empty(shape, np.uint8)
        return array, array

    def give(self, owner: Any) -> None:
        if owner is not None:
            self.free[owner.shape].append(owner)


class Pooled:
    """Arrays over leases."""

    def __init__(self, **options: Any) -> None:
        import millpond

        self.pool = millpond.Pool("frames", **options)

    def take(self, shape: tuple[int, ...]) -> Any:
        lease = self.pool.get(int(np.prod(shape)))
        return lease, lease.array("B", shape)

    def give(self, owner: Any) -> None:
        if owner is not None:
            self.pool.put(owner)


def fitting(size: int, **options: Any) -> Pooled:
    # Without a class of its own a 4K frame is larger than every default class, and its memory is never kept.
    live = size * (BEHIND + 4)
    return Pooled(classes=[size // 3, size], max_bytes=4 * live, max_retained_bytes=2 * live, **options)


WAYS: dict[str, Any] = {
    "millpond": fitting,
    "millpond-noclear": lambda size: fitting(size, clear="never"),
    "millpond-default": lambda size: Pooled(),
    "new arrays": lambda size: Fresh(),
    "new arrays, glibc-tuned": lambda size: Fresh(),
    "kept arrays": lambda size: Kept(),
}


class Loop:
    """Steps of one frame. `owners` hold the memory, arrays are views: an array must be gone before its owner is put."""

    def __init__(self, way: Any, size: int, opencv: bool) -> None:
        self.way, self.shape, self.opencv = way, SHAPES[size], opencv
        draw = np.random.default_rng(7)
        self.sources = [draw.integers(0, 256, self.shape, np.uint8) for _ in range(3)]
        self.past: list[tuple[Any, Any]] = []

    def copied(self, source: Any) -> tuple[Any, Any]:
        owner, array = self.way.take(self.shape)
        if array is None:
            return None, source.copy()
        np.copyto(array, source)
        return owner, array

    def smooth(self, frame: Any) -> tuple[Any, Any]:
        owner, array = self.way.take(self.shape)
        if self.opencv:
            import cv2

            return owner, cv2.blur(frame, (5, 5), dst=array)
        half_owner, half = self.way.take(self.shape)
        half = np.right_shift(frame, 1, out=half)
        result = np.bitwise_and(half, 0x7E, out=array)
        del half
        self.way.give(half_owner)
        return owner, result

    def mask(self, now: Any, before: Any) -> tuple[Any, Any]:
        owner, array = self.way.take(self.shape)
        flat_owner, flat = self.way.take(self.shape[:2])
        if self.opencv:
            import cv2

            difference = cv2.absdiff(now, before, dst=array)
            gray = cv2.cvtColor(difference, cv2.COLOR_BGR2GRAY, dst=flat)
            del difference, array
            self.way.give(owner)
            return flat_owner, gray
        difference = np.subtract(now, before, out=array)
        gray = np.bitwise_or(difference[:, :, 0], difference[:, :, 2], out=flat)
        del difference, array
        self.way.give(owner)
        return flat_owner, gray

    def batch(self) -> tuple[int, int]:
        digest = 0
        for number in range(BATCH):
            frame_owner, frame = self.copied(self.sources[number % 3])
            smooth_owner, smooth = self.smooth(frame)
            del frame
            self.way.give(frame_owner)
            if len(self.past) == BEHIND:
                old_owner, old = self.past.pop(0)
                mask_owner, mask = self.mask(smooth, old)
                digest = zlib.crc32(mask[::64].tobytes(), digest)
                del old, mask
                self.way.give(mask_owner)
                self.way.give(old_owner)
            self.past.append((smooth_owner, smooth))
            del smooth
        while self.past:
            owner, array = self.past.pop()
            del array
            self.way.give(owner)
        return BATCH, digest


def row(peer: str, work: str, size: int, ms: float) -> dict[str, Any]:
    if size not in SHAPES:
        raise harness.Skip("no frame is that large")
    if work == "frames-opencv":
        import cv2

        cv2.setNumThreads(1)
    return harness.repeat(Loop(WAYS[peer](size), size, work == "frames-opencv").batch, ms)


if __name__ == "__main__":
    import importlib.metadata

    described = {
        "peers": list(WAYS),
        "works": {"frames-numpy": list(SHAPES), "frames-opencv": list(SHAPES)},
        "versions": harness.versions() | {"opencv": importlib.metadata.version("opencv-python-headless")},
        "settings": {
            "millpond": "classes of a frame and of a mask, limits that fit",
            "millpond-default": "a pool with nothing but defaults, whose largest class is 16 MiB",
            "new arrays": "what NumPy and OpenCV return without out= and dst=",
            "kept arrays": "lists of arrays by shape, as out= and dst=",
        },
    }
    sys.exit(harness.main(described, {"new arrays, glibc-tuned": harness.KEEP}, row))
