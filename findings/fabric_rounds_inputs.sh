#!/usr/bin/env bash
# lightning-fabric 2.6.6 with torch 2.13.0: inputs of a diffusion network under precision="bf16-mixed".
#
# A denoiser takes a noisy state in single precision and its time in double precision. A good engineer's guess: mixed
# precision is torch.autocast, which rounds inside matrix products and convolutions alone, so that forward() receives what
# it was given, and a training under Fabric equals one under torch.autocast. Instead, a module that Fabric has set up
# receives all floating-point inputs in bf16, however they are nested: times of 8 bits, of which those above .998 are 1,
# and states with an error of up to .2 %, which is more than the noise of the last steps. There is no warning, since
# outputs are converted back to single precision. Cure: a precision plugin whose convert_input returns its argument.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q torch==2.13.0 lightning-fabric==2.6.6 numpy==2.4.6
"$work/env/bin/python" - <<'PY'
import lightning_fabric
import torch
from lightning_fabric.plugins.precision import MixedPrecision


class Denoiser(torch.nn.Module):
    """Returns its inputs, and whether autocast is on."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)

    def forward(self, states, times):
        seen.append((states["scan"], times, torch.is_autocast_enabled("cpu")))
        return self.layer(states["scan"])


class Unrounded(MixedPrecision):
    def convert_input(self, data):
        return data


state = {"scan": torch.tensor([[1.001, 0.5003, -0.2501]])}
time = torch.tensor([0.9985], dtype=torch.float64)
results = {}
for name, options in {
    "bf16-mixed": {"precision": "bf16-mixed"},
    "a plugin": {"plugins": [Unrounded("bf16-mixed", "cpu")]},
}.items():
    seen = []
    torch.manual_seed(0)
    network = Denoiser()
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=1, **options)
    wrapped, _ = fabric.setup(network, torch.optim.SGD(network.parameters()))
    output = wrapped(state, time)
    (scan, t, autocast) = seen[0]
    results[name] = (scan.dtype, t.dtype, float(t), autocast, output.dtype)
    print(f"lightning-fabric {lightning_fabric.__version__}, {name}: state {scan.dtype}, time {t.dtype} {float(t)}, "
          f"autocast {autocast}, output {output.dtype}")
assert results["bf16-mixed"] == (torch.bfloat16, torch.bfloat16, 1.0, True, torch.float32), "the behaviour has changed"
assert results["a plugin"] == (torch.float32, torch.float64, 0.9985, True, torch.float32), "the behaviour has changed"
print("As described.")
PY
