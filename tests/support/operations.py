"""The operations of torch that some code runs."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

ADDS_ATOMICALLY = {"index_add", "index_add_", "scatter_add", "scatter_add_", "put_", "index_put", "index_put_"}
"""Operations that can add to one place several times; on a card they do so in an order that timing decides."""


class Operations(TorchDispatchMode):
    """Inside the context, `names` collects the names of all operations, such as "mm"."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take down the name and run the operation."""
        name = func.overloadpacket.__name__
        accumulates = name in ("index_put", "index_put_") and len(args) > 3 and args[3]
        if accumulates or not name.startswith("index_put"):
            self.names.add(name)
        return func(*args, **(kwargs or {}))
