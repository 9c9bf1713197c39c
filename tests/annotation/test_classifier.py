import numpy as np
import pytest

from boostqa.annotation.classifier import Classifier, fit, load, save
from boostqa.annotation.encoder import encoder as encoder_named
from boostqa.annotation.features import BITS, rows
from boostqa.annotation.regression import fit_dense, softmax
from boostqa.errors import UserError
from subjects import LAW, PHYSICS

WORDS = {
    "Physics": PHYSICS,
    "Law": LAW,
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
    assert found[3] == pytest.approx(1 / 3, abs=1e-5)


def test_the_order_of_examples_does_not_matter():
    texts, labels = examples(15)
    one, _ = fit(texts, labels)
    other, _ = fit(texts[::-1], labels[::-1])
    assert np.array_equal(one.sparse.weights, other.sparse.weights)


def test_too_little_to_learn_from():
    with pytest.raises(ValueError, match="needs 10 texts and 2 labels"):
        fit(["a"] * 20, ["x"] * 20)


def test_few_distinct_texts_are_no_reason_to_fail():
    # Which folds two texts fall into is chance: both alone, with one to be held out, or together.
    tested = set()
    for k in range(20):
        texts = [f"text {k} one"] * 6 + [f"other {k} two"] * 6
        found, trial = fit(texts, ["a"] * 6 + ["b"] * 6)
        tested.add(len(trial.truth))
        assert np.isfinite(found.predict(texts)).all()
    assert tested >= {0, 12}
    same, trial = fit(["one question"] * 12, ["a", "b"] * 6)
    assert (trial.truth, trial.calibration_error) == ([], 0.0)
    assert (same.scale, same.curve) == ((1.0, 0.0), (1.0, 0.0))
    assert same.predict(["one question"])[0] == pytest.approx([0.5, 0.5], abs=0.01)


def test_words_that_no_example_had_are_unknown_however_many():
    rng = np.random.default_rng(0)

    def word(low, high):
        return "".join(chr(c) for c in rng.integers(low, high, rng.integers(5, 11)))

    # So many known columns that one in forty of any text's is known by chance.
    lexicon = [word(97, 123) for _ in range(30_000)]
    texts = [" ".join(lexicon[i % 30_000 : i % 30_000 + 40]) for i in range(0, 60_000, 20)]
    found, _ = fit(texts, ["a", "b"] * 1500)
    assert len(found.sparse.columns) > (1 << BITS) / 40
    strange = [
        " ".join(word(low, high) for _ in range(n))
        for low, high in ((97, 123), (0x1200, 0x1248))
        for n in (5, 20, 60)
        for _ in range(100)
    ]
    assert found.sparse.known(rows(strange)).mean() < 0.03
    assert found.predict(strange[-1:])[0] == pytest.approx(found.prior, abs=1e-6)
    real = [" ".join(rng.choice(lexicon, n)) for n in (3, 5, 20, 60) for _ in range(100)]
    assert found.sparse.known(rows(real)).mean() > 0.97


def test_codes_and_numbers_are_no_known_words():
    texts, labels = examples()
    # Single letters and numbers of every length are known, as they are to any classifier of real questions.
    common = " ".join(f"{letter} {'7' * i} {letter}{i}" for i, letter in enumerate("abcdefghijklmnop"))
    found, _ = fit([f"{text} {common}" for text in texts], labels)
    strange = [
        "aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQgdGV4dA==",
        "9f86d081884c7d659a2feaa0c55ad015",
        "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "481516 2342 7",
        "2024",
    ]
    for text, chances in zip(strange, found.predict(strange), strict=True):
        assert chances == pytest.approx(found.prior, abs=1e-6), text
    assert found.sparse.known(rows(["What about voltage in case 2024?", "3 a 5 b 7"])).all()


class Counting:
    """An encoder that tells languages of the examples apart and counts what it was asked."""

    name = "counting"

    def __init__(self):
        self.asked = 0

    def encode(self, texts):
        self.asked += len(texts)
        known = [
            {w: i for i, words in enumerate(WORDS.values()) for w in words}[w] for w in ("wave", "court")
        ]
        return np.array(
            [[known[0] + ("wave" in t), "court" in t, len(t) % 3] for t in texts], dtype=np.float32
        )


def test_an_encoder_is_kept_by_name_and_asked_for_again(tmp_path):
    texts, labels = examples(20)
    encoder = Counting()
    classifier, _ = fit(texts, labels, encoder=encoder)
    assert encoder.asked == len(texts)
    assert classifier.scale[1] > 0
    save(tmp_path / "m", {"field": classifier}, {"languages": ["en"]})
    heads, about = load(tmp_path / "m", lambda name: {"counting": encoder}[name])
    assert about == {"languages": ["en"]}
    new = ["voltage of the wave", "the court"]
    assert np.allclose(heads["field"].predict(new), classifier.predict(new), atol=1e-6)
    with pytest.raises(UserError, match="fitted with the encoder counting, not none"):
        Classifier.from_state(classifier.to_state())


def test_a_folder_that_is_no_classifier(tmp_path):
    with pytest.raises(UserError, match=r"is not a fitted classifier .*boostqa annotate fit"):
        load(tmp_path, lambda name: None)


def test_unknown_encoders_are_named():
    with pytest.raises(UserError, match="no encoder 'bert'; known: e5-small"):
        encoder_named("bert")


def test_groups_are_held_out_whole():
    texts = [f"{word} {i % 5}" for word in "abcdefgh" for i in range(30)]
    labels = [("x", "y")[ord(text[0]) % 2] for text in texts]
    # Each letter has its label: known when it is seen on both sides, a guess when it is not.
    _, seen = fit(texts, labels)
    _, unseen = fit(texts, labels, groups=[text[0] for text in texts])
    assert seen.correct / len(seen.truth) > 0.95
    assert unseen.correct / len(unseen.truth) < 0.8


def test_the_dense_regression_reaches_the_optimum():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(400, 5)).astype(np.float32) * [1, 2, 3, 4, 5] + 7
    truth = (inputs @ rng.normal(size=(5, 3)) + rng.gumbel(size=(400, 3))).argmax(axis=1)
    model = fit_dense(inputs.astype(np.float32), truth, 3, steps=3000)
    spread = inputs.std(axis=0)[:, None]
    error = softmax(model.logits(inputs)) - np.eye(3)[truth]
    slope = (inputs - inputs.mean(axis=0)).T @ error / 400 / spread + 30 / 400 * model.weights * spread
    assert np.abs(slope).max() < 1e-3
    assert np.abs(error.mean(axis=0)).max() < 1e-3


def test_a_model_of_another_version_is_refused_by_name(tmp_path):
    classifier, _ = fit(*examples())
    save(tmp_path / "m", {"field": classifier}, {})
    kept = (tmp_path / "m" / "model.json").read_text()
    (tmp_path / "m" / "model.json").write_text(kept.replace('"format":2', '"format":1'))
    with pytest.raises(UserError, match=r"m: was fitted by another version.*annotate fit"):
        load(tmp_path / "m", encoder_named)
