"""The gallery: every page that it writes is there and sound, and its two networks have torch's gradients."""

import re
import struct
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

import symbackprop as sbp

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PICTURES = sorted((EXAMPLES / "gallery").glob("*.png"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that did not exist, written as a user writes it."""
    folder = tmp_path_factory.mktemp("gallery") / "new" / "pages"
    done = subprocess.run([sys.executable, "-W", "error", EXAMPLES / "gallery.py", folder], capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("14 derivations in ")
    return folder


def test_every_text_form_is_there_in_every_format(folder):
    names = {path.stem for path in EXAMPLES.rglob("*.net")} | {"tanh_by_numbers", "three_layers_by_numbers"}
    assert {path.name for path in folder.iterdir()} == {"index.html"} | {f"{name}{end}" for name in names for end in (".html", ".tex", ".md", ".svg")}


def test_the_index_leads_to_every_file(folder):
    index = (folder / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'(?:src|href)="([^"]+)"', index)) == {path.name for path in folder.iterdir()} - {"index.html"}


def test_every_page_says_that_its_equations_were_checked(folder):
    for path in [*folder.glob("*.html"), *folder.glob("*.tex"), *folder.glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        assert path.name == "index.html" or re.search(r"\d+ equations were checked by numbers", text), path.name
        assert "✗" not in text


def test_the_pictures_are_xml(folder):
    for path in folder.glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


def softmax(w, X, T):
    logits = torch.tanh(X @ w["W_1"] + w["b_1"]) @ w["W_2"] + w["b_2"]
    return torch.nn.functional.cross_entropy(logits, T)


def attention(w, X, T):
    scores = (X @ w["W_Q"]) @ (X @ w["W_K"]).T / 2
    return torch.nn.functional.mse_loss(torch.softmax(scores, dim=1) @ (X @ w["W_V"]), T)


@pytest.mark.parametrize("loss", [softmax, attention], ids=lambda loss: loss.__name__)
def test_the_networks_of_the_gallery_are_torchs(loss, draw, close):
    net = sbp.load(EXAMPLES / "gallery" / f"{loss.__name__}.net")
    shapes = {name: tuple(d if isinstance(d, int) else 5 for d in t.shape) for name, t in (net.weights | net.data).items()}
    values = draw(shapes)
    if loss is softmax:
        values["T"] = abs(values["T"]) / abs(values["T"]).sum(axis=1, keepdims=True)  # class probabilities
    tensors = {name: torch.tensor(value, requires_grad=name in net.weights) for name, value in values.items()}
    expected = loss(tensors, tensors["X"], tensors["T"])
    expected.backward()
    value, gradients = net.value_and_gradients({name: values[name] for name in net.weights}, X=values["X"], T=values["T"])
    close(value, expected.item(), 1e-12)
    for name, gradient in gradients.items():
        close(gradient, tensors[name].grad.numpy(), 1e-12, name)


def test_the_readme_shows_four_pictures():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r'<img src="examples/gallery/(\w+\.png)" width="600" alt="[^"]{20,}">', readme)
    assert len(shown) == 4
    assert sorted(shown) == [path.name for path in PICTURES]


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_sharp_and_small(path):
    """PNG; at least twice as wide as the README shows it."""
    start = path.read_bytes()[:24]
    assert start[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", start[16:24])
    assert 2 * 600 <= width <= 1400
    assert height <= 1.7 * width
    assert path.stat().st_size < 250_000
