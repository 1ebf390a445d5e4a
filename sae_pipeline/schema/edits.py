"""What an edit of a feature's activation may be. The server reads these limits too, and it does not load torch."""

from typing import Literal

Operation = Literal["ablate", "scale", "clamp", "add"]
MAX_EDITS = 256  # at once
MAX_VALUE = 1e4  # activations are 0 to about 100; with values far beyond, fp32 loses the rest of x
