"""Read the AWQ GEMM format back: packed int4 to plain weights.

Written by hand on purpose: a proof with AutoAWQ's own unpacking would miss a layout that only AutoAWQ understands.
Source of the layout: AutoAWQ's packing (eight 4-bit values per int32, interleaved 0 2 4 6 1 3 5 7).
"""

import torch

INTERLEAVE = (0, 2, 4, 6, 1, 3, 5, 7)


def unpacked(qweight: torch.Tensor, qzeros: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return a packed linear weight as plain fp32, (out, in)."""
    values, zeros = _nibbles(qweight), _nibbles(qzeros)
    group = values.shape[0] // scales.shape[0]
    spread = zeros.repeat_interleave(group, 0), scales.float().repeat_interleave(group, 0)
    return ((values - spread[0]) * spread[1]).T.contiguous()


def _nibbles(packed: torch.Tensor) -> torch.Tensor:
    """Unpack (rows, columns/8) int32 to (rows, columns) float."""
    shifts = torch.tensor([4 * INTERLEAVE.index(column) for column in range(8)], dtype=torch.int32)
    return ((packed.unsqueeze(-1) >> shifts) & 0xF).reshape(packed.shape[0], -1).float()
