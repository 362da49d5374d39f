"""A transformer that learns a toy language letter by letter: one block, as in Vaswani et al. 2017 (sections 3.1 to 3.5), and then it speaks.

The language has 108 sentences such as "two dogs hear a cat." Whether the verb ends with s is decided by the first word, so that the network has
to look back; how much it can know at all, the entropy of the language, is known, and the loss is printed beside it.
"""

import itertools
import time
from collections import Counter

import numpy as np

import symbackprop as sbp

UNITS, HEADS, HIDDEN, LENGTH = 32, 2, 64, 32
NOUNS, VERBS = ("cat", "dog", "bird"), ("see", "like", "hear")


# --- the language ----------------------------------------------------------------------------------------------------------


def sentences():
    """All of them, equally likely."""
    things = [f"a {noun}" for noun in NOUNS] + [f"two {noun}s" for noun in NOUNS]
    return [f"{who} {verb}{'s' if who.startswith('a ') else ''} {whom}. " for who, verb, whom in itertools.product(things, VERBS, things)]


ALPHABET = sorted(set("".join(sentences())))
NUMBER = {letter: i for i, letter in enumerate(ALPHABET)}


def texts(count, seed):
    """Rows of letters, as numbers: sentences drawn one after the other, each row from the start of one, cut at the same length."""
    rng = np.random.default_rng(seed)
    known = sentences()
    rows = ["".join(rng.choice(known, 3))[: LENGTH + 1] for _ in range(count)]
    return np.array([[NUMBER[letter] for letter in row] for row in rows])


def surprises(row):
    """-log of the probability of each letter but the first, given those before it: of all sentences that begin so, the share that goes on so."""
    begin = Counter(sentence[:k] for sentence in sentences() for k in range(len(sentence) + 1))
    text, start, found = "".join(ALPHABET[i] for i in row), 0, []
    for k in range(1, len(text)):
        start = k if text[k - 2 : k] == ". " else start
        found.append(-np.log(begin[text[start : k + 1]] / begin[text[start:k]]))
    return found


# --- the network -----------------------------------------------------------------------------------------------------------


def normal(x, name):
    """Each place with mean 0 and variance 1, times a gain, plus a bias: layer norm (Ba et al. 2016, equation 4)."""
    d = sbp.node(f"D_{name}", x - sbp.mean(x, axis=-1, keepdims=True))
    deviation = (sbp.mean(d**2, axis=-1, keepdims=True) + 1e-5) ** 0.5
    return sbp.node(f"N_{name}", sbp.weight(f"g_{name}", (UNITS,), init="ones") * d / deviation + sbp.weight(f"c_{name}", (UNITS,)))


def transformer():
    """Letters -> logits of the next letter at each place. Sizes of the batch and of the texts are open."""
    letters, following = sbp.data("letters", ("n", "t")), sbp.data("following", ("n", "t"))
    x = sbp.node("P", sbp.embedding(letters, len(ALPHABET), UNITS) + sbp.positional_encoding("t", UNITS))
    x = sbp.node("Y_1", x + sbp.multi_head_attention(normal(x, "1"), HEADS, causal=True))
    inner = sbp.dense(normal(x, "2"), HIDDEN, "gelu_tanh", name="1")
    x = sbp.node("Y_2", x + sbp.dense(inner, UNITS, name="2"))
    logits = sbp.dense(normal(x, "3"), len(ALPHABET), name="3")
    return sbp.Network(sbp.node("C", sbp.cross_entropy(logits, following)), output=logits)


def speak(trainer, texts, seed=0):
    """So many texts: a first letter, and then one letter after the other, drawn from what the network expects of it."""
    rng = np.random.default_rng(seed)
    said = rng.choice([NUMBER["a"], NUMBER["t"]], (texts, 1))
    while said.shape[1] < LENGTH:
        logits = trainer.predict(letters=said)[:, -1]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        following = [rng.choice(len(ALPHABET), p=row / row.sum()) for row in p]
        said = np.column_stack([said, following])
    return ["".join(ALPHABET[i] for i in row) for row in said]


def right(texts):
    """How many of the first sentences of these texts are sentences of the language."""
    known = set(sentences())
    return sum(text[: text.find(". ") + 2] in known for text in texts)


def train(epochs=8, count=2000, size=32, seed=0):
    """The trainer after its last epoch, its history, its loss on 200 texts that it never saw, and the entropy of the language there."""
    rows, others = texts(count, seed=1), texts(200, seed=2)
    trainer = transformer().trainer(sbp.Adam(lr=3e-3), seed=seed, dtype="float32")
    data = {"letters": rows[:, :-1], "following": rows[:, 1:]}
    history = trainer.fit(data, epochs=epochs, batch_size=size, shuffle=True, seed=seed)
    loss = trainer.loss(letters=others[:, :-1], following=others[:, 1:])
    return trainer, history, loss, np.mean([surprises(row) for row in others])


def main(epochs=8):
    net = transformer()
    lines = [line for line in net.latex("equations").splitlines() if line.strip().startswith(("R_", "S_", "H_"))]
    print("The scores of the heads, what each place sees, and what comes of it:", *lines, sep="\n")
    print("\nHow its scores learn:", net.gradients["W_Q_1"].latex("matrix"), sep="\n")
    start = time.perf_counter()
    trainer, history, loss, bound = train(epochs)
    print(f"\nTrained in {time.perf_counter() - start:.0f} s")
    for epoch in sorted({1, 2, 4, epochs} & set(range(epochs + 1))):
        print(f"epoch {epoch:2}   loss {history.loss[epoch - 1]:.4f}")
    print(f"On texts that it never saw: {loss:.4f} nats a letter; the entropy of the language there: {bound:.4f}")
    said = speak(trainer, 100)
    print(f"\nIt says, and of {len(said)} first sentences {right(said)} are right:", *said[:8], sep="\n")


if __name__ == "__main__":
    main()
