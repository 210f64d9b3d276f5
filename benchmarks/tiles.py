"""Peak memory and time of encoding and decoding one large volume by the KL autoencoder, whole and in tiles.

python benchmarks/tiles.py --network default --tiles 0 96 64
python benchmarks/tiles.py --network maisi --tiles 64 96 --first

Every line is measured in a process of its own (resident set at its largest, less that before the codec is built). With
``--first``, only the first tile is computed, as large as any other, and the time is that times the number of tiles.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch

from metavoxel.parts.codecs.kl_vae import KLVAESpec
from metavoxel.parts.codecs.tiles import Tiling

NETWORKS = {
    "default": {},
    "brlp": {"downsampling": 8, "latent_channels": 3, "channels": (64, 128, 128, 128), "residual_blocks": 2,
             "norm_groups": 32, "linear_path": False},
    "maisi": {"downsampling": 4, "latent_channels": 4, "channels": (64, 128, 256), "residual_blocks": 2,
              "norm_groups": 32, "linear_path": False, "upsampling": "linear"},
}  # fmt: skip
"""The default, and networks of published sizes with random weights."""


def peak() -> float:
    """Return the largest resident set of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(network: str, shape: tuple[int, ...], tile: int, first: bool) -> None:
    """Encode and decode one volume of noise, and print a line."""
    torch.set_num_threads(1)
    spec = KLVAESpec(**NETWORKS[network], tile=tile or None)
    factor, before = spec.downsampling, peak()
    tiling = Tiling((tile or max(shape)) // factor, spec.tile_overlap // factor)
    tiles = tiling.count([size // factor for size in shape])
    size = tuple(min(tile, length) for length in shape) if first and tile else shape
    codec = spec.build((1, *size)).eval()
    whole = [torch.zeros(1, 1, *shape) for _ in range(3 if first else 0)]  # image, its standardised copy, result
    image = torch.rand(1, 1, *size)
    seconds = []
    for function, data in ((lambda x: codec.encode(x).mean, image), (codec.decode, torch.randn(1, *codec.code_shape))):
        start = time.process_time()
        function(data)
        seconds.append((time.process_time() - start) * (tiles if first else 1))
    del whole
    with torch.device("meta"):
        forecast = spec.build((1, *shape)).forecast([min(tile or length, length) for length in shape]) / 1e9
    name, dims = f"{network:8} {f'tile {tile}' if tile else 'whole':9}", " x ".join(map(str, shape))
    print(
        f"{name} {dims}: {tiles:3} tiles, {peak() - before:5.2f} GB (forecast {forecast:.2f}), "
        f"encoding {seconds[0]:.0f} s, decoding {seconds[1]:.0f} s of one core{' (from one tile)' if first else ''}",
        flush=True,
    )


def main() -> None:
    """Measure every tile size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="default")
    parser.add_argument("--shape", type=int, nargs=3, default=(192, 224, 192))
    parser.add_argument("--tiles", type=int, nargs="+", default=[0, 96, 64], help="voxels along each axis; 0: whole")
    parser.add_argument("--first", action="store_true", help="compute the first tile alone")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        measure(arguments.network, tuple(arguments.shape), arguments.tiles[0], arguments.first)
        return
    for tile in arguments.tiles:
        command = [sys.executable, __file__, "--here", "--network", arguments.network, "--tiles", str(tile)]
        command += ["--shape", *map(str, arguments.shape), *(["--first"] if arguments.first else [])]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
