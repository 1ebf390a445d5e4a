"""A BERT classifier that is cut at a layer, and its SAE's encoder, as ONNX graphs for a browser.

| graph | from | to |
| --- | --- | --- |
| `read` | token ids, int32 [1, n_tokens] | hidden [1, n_tokens, d_in] after the layer, f [1, n_tokens, d_sae] |
| `tail` | hidden [n_copies, n_tokens, d_in] | logits [n_copies, n_classes] |
| `slopes` | the same, and seeds [n_copies, n_classes] | logits, and the slopes of Σ seed·logit, shaped like hidden |

A graph reads copies of one text, which are equally long, so there are no padding and no mask. Weights of matrices are
kept in half precision and used in float32. ONNX has no autograd, so each part here returns its output and a function
that adds its backward pass to the graph.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor

from sae_pipeline.sae.autoencoder import SparseAutoencoder

_OPSET = 18
_IR_VERSION = 9
Back = Callable[[str], str]  # the name of an output's slopes → the name of the input's


class _Graph:
    """Nodes that are added one by one. A value in the graph is its name."""

    def __init__(self, exact: bool) -> None:
        """With `exact`, weights are kept in float32."""
        self._exact = exact
        self._nodes: list[Any] = []
        self._constants: dict[str, TensorProto] = {}
        self._weights: dict[str, str] = {}

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output."""
        output = f"{kind}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        """A number or a short list of numbers."""
        array: NDArray[Any] = np.asarray(value, dtype)
        return self._constant(f"{array.dtype.name}{array.tolist()}", array)

    def vector(self, name: str, value: Tensor) -> str:
        """A bias or another vector, in float32."""
        return self._constant(name, _array(value))

    def matrix(self, name: str, value: Tensor) -> str:
        """A matrix, to be used in float32."""
        if name not in self._weights:
            self._weights[name] = self._widened(self.table(name, value))
        return self._weights[name]

    def table(self, name: str, value: Tensor) -> str:
        """A matrix as it is kept; see `rows`."""
        return self._constant(name, _array(value) if self._exact else _array(value).astype(np.float16))

    def rows(self, table: str, numbers: str) -> str:
        """Some rows of a table, in float32."""
        return self._widened(self("Gather", table, numbers))

    def _widened(self, kept: str) -> str:
        return kept if self._exact else self("Cast", kept, to=TensorProto.FLOAT)

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def model(self, inputs: Sequence[Any], outputs: Mapping[str, tuple[str, Sequence[str | int]]]) -> bytes:
        """The whole graph. `outputs` are name → (value in the graph, shape)."""
        nodes = [*self._nodes, *(helper.make_node("Identity", [value], [name]) for name, (value, _) in outputs.items())]
        shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, (_, shape) in outputs.items()]
        graph = helper.make_graph(nodes, "bench", inputs, shapes, list(self._constants.values()))
        opset = helper.make_opsetid("", _OPSET)
        model: ModelProto = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
        written: bytes = model.SerializeToString()
        return written


class BertGraphs:
    """The graphs of a `BertForSequenceClassification`, cut at the layer of an SAE."""

    def __init__(self, model: Any, sae: SparseAutoencoder, exact: bool = False) -> None:
        """With `exact`, weights are kept in float32."""
        self._tensors: dict[str, Tensor] = model.state_dict()
        self._config, self._sae, self._exact = model.config, sae, exact
        self._layer = sae.config.hookpoint.layer

    def read(self) -> bytes:
        """From token ids to hidden states after the layer, and to features before any choice of the k largest."""
        graph, sae = _Graph(self._exact), self._sae
        hidden = self._embeddings(graph, "input_ids")
        for n in range(self._layer):
            hidden, _ = self._block(graph, hidden, n)
        x = graph("Div", graph("Sub", hidden, graph.vector("mean", sae.mean)), graph.constant(sae.scale.item()))
        pre = graph("Add", graph("MatMul", x, graph.matrix("W_enc", sae.W_enc)), graph.vector("b_enc", sae.b_enc))
        limit = graph.vector("threshold", sae.threshold.clamp_min(0))
        f = graph("Where", graph("Greater", pre, limit), pre, graph.constant(0))
        ids = helper.make_tensor_value_info("input_ids", TensorProto.INT32, [1, "n_tokens"])
        d_in, d_sae = sae.config.d_in, sae.config.d_sae
        shapes: dict[str, tuple[str, Sequence[str | int]]] = {
            "hidden": (hidden, [1, "n_tokens", d_in]),
            "f": (f, [1, "n_tokens", d_sae]),
        }
        return graph.model([ids], shapes)

    def tail(self) -> bytes:
        """From hidden states to logits."""
        graph = _Graph(self._exact)
        logits, _ = self._tail(graph)
        return graph.model([self._hidden], {"logits": (logits, self._logits)})

    def slopes(self) -> bytes:
        """From hidden states to logits, and back to the slopes of Σ seed·logit."""
        graph = _Graph(self._exact)
        logits, back = self._tail(graph)
        seeds = helper.make_tensor_value_info("seeds", TensorProto.FLOAT, self._logits)
        slopes = back("seeds")
        shapes: dict[str, tuple[str, Sequence[str | int]]] = {
            "logits": (logits, self._logits),
            "slopes": (slopes, ["n_copies", "n_tokens", self._sae.config.d_in]),
        }
        return graph.model([self._hidden, seeds], shapes)

    @property
    def _hidden(self) -> Any:
        return helper.make_tensor_value_info(
            "hidden", TensorProto.FLOAT, ["n_copies", "n_tokens", self._sae.config.d_in]
        )

    @property
    def _logits(self) -> Sequence[str | int]:
        return ["n_copies", self._config.num_labels]

    # --- parts of the classifier -----------------------------------------------------------------------

    def _embeddings(self, graph: _Graph, ids: str) -> str:
        """Word, position and type embeddings of token ids, normalised."""
        name = "bert.embeddings."
        words, positions, kinds = (
            self._tensors[f"{name}{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
        )
        length = graph("Slice", graph("Shape", ids), *(graph.constant([n], np.int64) for n in (1, 2)))
        start, axis = (graph.constant([0], np.int64) for _ in range(2))
        placed = graph("Slice", graph.matrix("positions", positions + kinds[0]), start, length, axis)
        return self._norm(graph, graph("Add", graph.rows(graph.table("words", words), ids), placed), name)[0]

    def _tail(self, graph: _Graph) -> tuple[str, Back]:
        """The layers after the hookpoint and the head, which reads the first position."""
        hidden, n_layers = "hidden", self._config.num_hidden_layers
        backs: list[Back] = []
        for n in range(self._layer, n_layers):
            hidden, back_block = self._block(graph, hidden, n, first_only=n == n_layers - 1)
            backs.append(back_block)
        if not backs:
            backs.append(lambda slopes: self._placed_first(graph, graph("Sub", "hidden", "hidden"), slopes))
            hidden = self._first(graph, hidden)
        dense, back_dense = self._linear(graph, hidden, "bert.pooler.dense")
        pooled = graph("Tanh", dense)
        logits, back_logits = self._linear(graph, pooled, "classifier")

        def back(slopes: str) -> str:
            slopes = back_logits(graph("Unsqueeze", slopes, graph.constant([1], np.int64)))
            slopes = back_dense(graph("Mul", slopes, graph("Sub", graph.constant(1), graph("Mul", pooled, pooled))))
            for step in reversed(backs):
                slopes = step(slopes)
            return slopes

        return graph("Squeeze", logits, graph.constant([1], np.int64)), back

    def _block(self, graph: _Graph, x: str, n: int, first_only: bool = False) -> tuple[str, Back]:
        """A layer: attention, then two dense maps, each added to its input and normalised."""
        name = f"bert.encoder.layer.{n}."
        own = self._first(graph, x) if first_only else x
        mixed, back_mixed = self._attention(graph, x, own, f"{name}attention.self.")
        dense, back_dense = self._linear(graph, mixed, f"{name}attention.output.dense")
        attended, back_attended = self._norm(graph, graph("Add", dense, own), f"{name}attention.output.")
        inner, back_inner = self._linear(graph, attended, f"{name}intermediate.dense")
        active, back_active = _gelu(graph, inner)
        outer, back_outer = self._linear(graph, active, f"{name}output.dense")
        y, back_y = self._norm(graph, graph("Add", outer, attended), f"{name}output.")

        def back(slopes: str) -> str:
            slopes = back_y(slopes)
            slopes = back_attended(graph("Add", slopes, back_inner(back_active(back_outer(slopes)))))
            of_all, of_own = back_mixed(back_dense(slopes))
            of_own = graph("Add", of_own, slopes)
            return self._placed_first(graph, of_all, of_own) if first_only else graph("Add", of_all, of_own)

        return y, back

    def _attention(self, graph: _Graph, x: str, own: str, name: str) -> tuple[str, Callable[[str], tuple[str, str]]]:
        """Attention from the positions of `own` to those of x. Slopes come back for x, as keys and values, and own."""
        n_heads = self._config.num_attention_heads
        width = self._config.hidden_size // n_heads
        scaling = graph.constant(1 / math.sqrt(width))
        split = graph.constant([0, 0, n_heads, width], np.int64)
        joined = graph.constant([0, 0, n_heads * width], np.int64)

        def heads(value: str) -> str:
            return graph("Transpose", graph("Reshape", value, split), perm=[0, 2, 1, 3])

        def merged(value: str) -> str:
            return graph("Reshape", graph("Transpose", value, perm=[0, 2, 1, 3]), joined)

        def turned(value: str) -> str:
            return graph("Transpose", value, perm=[0, 1, 3, 2])

        (q, back_q), (k, back_k), (v, back_v) = (
            self._linear(graph, value, name + part) for value, part in ((own, "query"), (x, "key"), (x, "value"))
        )
        q, k, v = heads(q), heads(k), heads(v)
        weights = graph("Softmax", graph("Mul", graph("MatMul", q, turned(k)), scaling), axis=-1)

        def back(slopes: str) -> tuple[str, str]:
            slopes = heads(slopes)
            of_v = graph("MatMul", turned(weights), slopes)
            of_weights = graph("MatMul", slopes, turned(v))
            total = graph("ReduceSum", graph("Mul", of_weights, weights), graph.constant([-1], np.int64))
            of_scores = graph("Mul", graph("Mul", weights, graph("Sub", of_weights, total)), scaling)
            of_q, of_k = graph("MatMul", of_scores, k), graph("MatMul", turned(of_scores), q)
            return graph("Add", back_k(merged(of_k)), back_v(merged(of_v))), back_q(merged(of_q))

        return merged(graph("MatMul", weights, v)), back

    def _linear(self, graph: _Graph, x: str, name: str) -> tuple[str, Back]:
        matrix = graph.matrix(f"{name}.weight", self._tensors[f"{name}.weight"].T)
        y = graph("Add", graph("MatMul", x, matrix), graph.vector(f"{name}.bias", self._tensors[f"{name}.bias"]))
        return y, lambda slopes: graph("MatMul", slopes, graph("Transpose", matrix, perm=[1, 0]))

    def _norm(self, graph: _Graph, x: str, name: str) -> tuple[str, Back]:
        """Layer normalisation of the last axis."""
        weight, bias = (
            graph.vector(f"{name}LayerNorm.{part}", self._tensors[f"{name}LayerNorm.{part}"])
            for part in ("weight", "bias")
        )

        def mean(value: str) -> str:
            return graph("ReduceMean", value, graph.constant([-1], np.int64))

        centred = graph("Sub", x, mean(x))
        spread = graph("Add", mean(graph("Mul", centred, centred)), graph.constant(self._config.layer_norm_eps))
        deviation = graph("Sqrt", spread)
        unit = graph("Div", centred, deviation)

        def back(slopes: str) -> str:
            slopes = graph("Mul", slopes, weight)
            along = graph("Mul", unit, mean(graph("Mul", slopes, unit)))
            return graph("Div", graph("Sub", graph("Sub", slopes, mean(slopes)), along), deviation)

        return graph("Add", graph("Mul", unit, weight), bias), back

    def _first(self, graph: _Graph, x: str) -> str:
        return graph("Slice", x, *(graph.constant([n], np.int64) for n in (0, 1, 1)))

    def _placed_first(self, graph: _Graph, of_all: str, of_first: str) -> str:
        """Slopes at all positions, plus those at the first one alone."""
        one, end = (graph.constant([n], np.int64) for n in (1, np.iinfo(np.int64).max))
        others = graph("Slice", of_all, one, end, one)
        return graph("Concat", graph("Add", self._first(graph, of_all), of_first), others, axis=1)


def _gelu(graph: _Graph, x: str) -> tuple[str, Back]:
    """x · Φ(x), with the exact Φ; its slope is Φ(x) + x · φ(x)."""
    half = graph.constant(0.5)
    share = graph(
        "Mul", half, graph("Add", graph.constant(1), graph("Erf", graph("Mul", x, graph.constant(math.sqrt(0.5)))))
    )

    def back(slopes: str) -> str:
        bell = graph("Exp", graph("Mul", graph.constant(-0.5), graph("Mul", x, x)))
        density = graph("Mul", bell, graph.constant(1 / math.sqrt(2 * math.pi)))
        return graph("Mul", slopes, graph("Add", share, graph("Mul", x, density)))

    return graph("Mul", x, share), back


def _array(value: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = value.detach().cpu().float().contiguous().numpy()
    return array
