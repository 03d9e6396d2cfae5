"""Look into a served model: `--worker-extension-cls=tests.support.served_weights.ServedWeights`, development mode."""

from typing import Any, TypedDict

EXTENSION = "tests.support.served_weights.ServedWeights"


class Weight(TypedDict):
    """One tensor as it lies in the server's memory."""

    dtype: str
    bytes: int


class ServedWeights:
    """Methods for vLLM's worker; `POST /collective_rpc` calls them in the serving process."""

    model_runner: Any

    def served_weights(self) -> dict[str, Weight]:
        """Return every parameter of the loaded model, after all of vLLM's repacking."""
        return {
            name: {"dtype": str(tensor.dtype).removeprefix("torch."), "bytes": tensor.numel() * tensor.element_size()}
            for name, tensor in self.model_runner.model.named_parameters()
        }
