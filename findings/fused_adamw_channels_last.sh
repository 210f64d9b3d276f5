#!/usr/bin/env bash
# torch 2.13.0: resuming a 3-D convolution kept in channels_last_3d order with fused AdamW on a CPU.
#
# Network weights of volumes are often kept in channels_last_3d memory order, and checkpoints (safetensors, for one) hold
# tensors in plain order. A good engineer's guess: an optimiser pairs a weight with its moments index by index, so the
# memory order of what load_state_dict() is given does not matter, as it does not for load_state_dict() of modules. With
# fused=True moments are paired with weights by their order in memory: after a resume from plain-order moments the next
# steps are other ones than those of an uninterrupted run, without an error. With fused=False they are the same. Cure: give
# each moment the memory order of its weight before loading, torch.empty_like(weight).copy_(moment).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q torch==2.13.0 numpy==2.4.6
"$work/env/bin/python" - <<'PY'
import copy

import torch

RATE = 1e-3


def trained(fused, plain_order):
    """Weights after three steps, a resume in another process, as it were, and three more."""
    torch.manual_seed(0)
    layer = torch.nn.Conv3d(6, 5, 3).to(memory_format=torch.channels_last_3d)
    data = torch.randn(8, 2, 6, 7, 8, 9)

    def steps(layer, optimiser, first):
        for step in range(first, first + 3):
            optimiser.zero_grad()
            layer(data[step]).square().mean().backward()
            optimiser.step()

    optimiser = torch.optim.AdamW(layer.parameters(), RATE, fused=fused)
    steps(layer, optimiser, 0)
    state = copy.deepcopy(optimiser.state_dict())
    for moments in state["state"].values():
        for name in ("exp_avg", "exp_avg_sq"):
            order = torch.contiguous_format if plain_order else torch.preserve_format
            moments[name] = moments[name].clone(memory_format=order)
    resumed = torch.optim.AdamW(layer.parameters(), RATE, fused=fused)
    resumed.load_state_dict(state)
    steps(layer, resumed, 3)
    return layer.weight.detach()


for fused in (False, True):
    apart = (trained(fused, True) - trained(fused, False)).abs().max().item() / RATE
    print(f"torch {torch.__version__}, fused={fused}: resumed from plain order, weights differ by {apart:.3g} learning rates")
    assert (apart > 0.5) if fused else (apart < 1e-3), "the behaviour has changed"
print("As described.")
PY
