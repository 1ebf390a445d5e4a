"""ReLU with an L1 penalty (Bricken et al. 2023, "Towards Monosemanticity"; Cunningham et al. 2023)."""

from torch import Tensor

from sae_pipeline.kernels import AdamSettings, BatchSums, path_counts, reference
from sae_pipeline.sae.kinds.engine import DENSE_ABOVE, SparseStepper
from sae_pipeline.sae.kinds.stepper import StepStats


class ReluStep(SparseStepper):
    """f = relu(pre),  loss = mean over tokens of ‖x − x̂‖² + λ·Σf."""

    learning_rate = 4e-3
    encoder_bias = -2.0

    def step(self, x: Tensor, lr: float, sparsity: float) -> StepStats:
        """Move the parameters by one step; `sparsity` is λ. Where many entries are active, all products are dense."""
        adam = self.adam(lr, sparsity)
        mean_r, sums = self._sparse(x, adam) or self._dense(x, adam)
        self._step_b_dec(2 * mean_r, lr)
        n = len(x)
        loss = (sums.squared + sparsity * sums.activation) / n
        return StepStats(n, loss, sums.squared, float(x.square().sum()), int(sums.counts.sum()), sums.counts)

    def _sparse(self, x: Tensor, adam: AdamSettings) -> tuple[Tensor, BatchSums] | None:
        """Work on lists of the active entries. None where there are no kernels or too many entries are active."""
        shared = self.sharing.ranks.size > 1  # ranks exchange numbers on the way over lists only
        if self._kernels is None and not shared:
            return None
        batch = self._read(x)
        lists = self._encode(batch, limit=None if shared else DENSE_ABOVE)
        if lists is None:
            return None
        r, mean_r, squared = self._residual(lists, batch)
        self._update(lists, batch, r, adam)
        return mean_r, BatchSums(squared, float(lists.values.sum()), lists.ptr.diff())

    def _dense(self, x: Tensor, adam: AdamSettings) -> tuple[Tensor, BatchSums]:
        """Work on dense activations."""
        result = reference.dense_step(x, self.b_dec, self.features, adam, self._low)
        self._refresh()
        path_counts[f"step.dense.{x.device.type}"] += 1
        return result
