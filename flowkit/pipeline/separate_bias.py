"""A pass of the compiler that makes linear layers on a CPU faster."""

from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

__all__ = ["SeparateBias"]

_addmm, _mm, _add = torch.ops.aten.addmm.default, torch.ops.aten.mm.default, torch.ops.aten.add.Tensor


class SeparateBias(CustomGraphPass):
    """b + x W as a product and a sum, which the compiler then joins with the activation that follows.

    As one operation it copies the bias to every row first: a pass over memory that the activation makes anyhow. The
    compiler itself takes them apart on GPUs only (`should_prefer_unfused_addmm`, as of PyTorch 2.13). Numbers of 16
    bits are left alone, for the product would be rounded before the sum.
    """

    def __call__(self, graph: torch.fx.Graph) -> None:
        """Take such operations apart."""
        for node in graph.find_nodes(op="call_function", target=_addmm):
            if node.kwargs or node.meta["val"].element_size() < 4:  # kwargs: factors other than 1
                continue
            bias, x, weight = node.args
            with graph.inserting_before(node):
                product = graph.call_function(_mm, (x, weight))
                total = graph.call_function(_add, (product, bias))
            product.meta, total.meta = dict(node.meta), dict(node.meta)
            node.replace_all_uses_with(total)
            graph.erase_node(node)

    def uuid(self) -> Any:
        """What compiled code is kept under, beside what it was compiled from."""
        return get_hash_for_files((__file__,))
