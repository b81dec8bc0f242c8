"""Run at the start of every Python process of a vLLM server, whose PYTHONPATH has this folder; see `test_vllm.py`.

vLLM imports torchvision, whose wheel is compiled for CUDA: beside a torch for the CPU its operators are missing, and
the import fails. Declared without code they let it through; a server of LLaVA calls none of them.
"""

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    library = torch.library.Library("torchvision", "DEF")  # undone when it is collected, so it stays a global
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
