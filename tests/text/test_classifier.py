import numpy as np
import pytest

from boostqa.text.classifier import Classifier, fit

WORDS = {
    "Physics": [
        "force",
        "mass",
        "velocity",
        "energy",
        "current",
        "voltage",
        "wave",
        "frequency",
        "lens",
        "momentum",
    ],
    "Law": [
        "contract",
        "court",
        "tort",
        "statute",
        "plaintiff",
        "liability",
        "judge",
        "appeal",
        "lease",
        "will",
    ],
    "化学": ["氧化", "还原", "酸", "碱", "分子", "离子", "溶液", "反应", "催化", "电解"],
}


def examples(n=40):
    texts, labels = [], []
    for label, words in WORDS.items():
        for i in range(n):
            chosen = [words[(i * k + k) % len(words)] for k in (1, 3, 7)]
            texts.append(f"What about {' and '.join(chosen)} in case {i}?")
            labels.append(label)
    return texts, labels


def test_learns_tells_new_texts_apart_and_survives_storage():
    texts, labels = examples()
    classifier, trial = fit(texts, labels)
    assert trial.correct / len(trial.truth) > 0.9
    assert trial.calibration_error < 0.25
    new = ["voltage of the wave", "appeal to the court", "酸和碱的反应", ""]
    found = Classifier.from_state(classifier.to_state()).predict(new)
    assert np.array_equal(found, classifier.predict(new))
    assert [classifier.labels[i] for i in found[:3].argmax(axis=1)] == ["Physics", "Law", "化学"]
    assert found.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert found[3].max() < 0.9


def test_the_order_of_examples_does_not_matter():
    texts, labels = examples(15)
    one, _ = fit(texts, labels)
    other, _ = fit(texts[::-1], labels[::-1])
    assert np.array_equal(one.model.weights, other.model.weights)


def test_too_little_to_learn_from():
    with pytest.raises(ValueError, match="needs 10 texts and 2 labels"):
        fit(["a"] * 20, ["x"] * 20)
