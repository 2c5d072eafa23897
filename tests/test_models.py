"""The networks by name: their published counts, the images they take, and what they say of those they do not."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.models import MODELS, ModelError, build, find
from tinyconv.nn import Module, init


def count(module: Module) -> int:
    return sum(p.numel() for p in module.parameters())


def logits(model: Module, image: tuple[int, int, int], n: int = 2) -> np.ndarray:
    x = np.random.default_rng(0).random((n, *image), np.float32)
    with tc.no_grad():
        return model(tc.tensor(x)).numpy()


def test_lenet5_has_the_published_counts():
    model = build("lenet5", (1, 32, 32), 10)
    found = {name: count(getattr(model, name)) for name in ("c1", "c3", "c5", "f6", "output")}
    assert found == {"c1": 156, "c3": 2_416, "c5": 48_120, "f6": 10_164, "output": 850}
    assert count(model) == sum(found.values())


@pytest.mark.parametrize("size", [28, 32])
def test_lenet5_has_the_published_maps(size):
    model = build("lenet5", (1, size, size), 10)
    x = tc.tensor(np.zeros((1, 1, size, size), np.float32))
    shapes = {}
    with tc.no_grad():
        for name, layer in model.named_children():
            x = layer(x)
            shapes[name] = x.shape[1:]
    assert shapes["c1"] == (6, 28, 28) and shapes["s2"] == (6, 14, 14)
    assert shapes["c3"] == (16, 10, 10) and shapes["s4"] == (16, 5, 5)
    assert shapes["c5"] == (120, 1, 1) and shapes["f6"] == (84,) and shapes["output"] == (10,)


@pytest.mark.parametrize("image, linear", [
    ((1, 28, 28), 40 * 4 * 4),  # 28 - 4 = 24, 12, 8, 4
    ((3, 32, 32), 40 * 5 * 5),  # 32 - 4 = 28, 14, 10, 5
    ((1, 8, 8), 40 * 2 * 2),  # padded: 8, 4, 4, 2
    ((1, 16, 20), 40 * 1 * 2),  # 16 - 4 = 12, 6, 2, 1 and 20 - 4 = 16, 8, 4, 2
])
def test_cnn_fits_the_image(image, linear):
    model = build("cnn", image, 7)
    convolutions = image[0] * 20 * 25 + 20 + 20 * 40 * 25 + 40
    assert count(model) == convolutions + linear * 100 + 100 + 100 * 7 + 7
    assert logits(model, image).shape == (2, 7)


def test_digits_counts_by_hand():
    assert count(build("digits", (1, 8, 8), 10)) == 16 * 9 + 16 + 32 * 16 * 9 + 32 + 32 * 16 * 64 + 64 + 64 * 10 + 10


LARGE = {"alexnet", "vgg16", "googlenet", "googlenet-bn", "resnet18"}  # test_models_classic.py takes a step of each
SMALL = [name for name in MODELS if name not in LARGE]
GIVES = {"classify": lambda a: (a.classes,), "segment": lambda a: (a.classes, *a.image[1:]), "reconstruct": lambda a: a.image,
         "generate": lambda a: a.image, "judge": lambda a: (1,)}


@pytest.mark.parametrize("name", SMALL)
def test_every_model_gives_what_it_says_for_its_own_image(name):
    architecture = find(name)
    assert architecture.name == name
    out = logits(architecture.new(), architecture.sample, 3)
    assert out.shape == (3, *GIVES[architecture.task](architecture)) and out.dtype == np.float32
    assert np.isfinite(out).all()
    assert (np.ptp(out) > 0) != name.startswith("nielsen")  # the book's softmax layer starts at 0


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_a_summary_that_costs_nothing(name):
    """Of VGG-16 too: no multiplication, and weights that are never touched. Shapes are those of the real thing."""
    architecture = find(name)
    with init.skipped():
        model = architecture.new()
    summary = model.summary(architecture.sample)
    assert summary.rows[-1].output == (GIVES[architecture.task](architecture),)
    assert summary.parameters == count(model) and summary.macs > 0
    text = summary.text(80)
    assert max(map(len, text.split("\n"))) <= 80, text


@pytest.mark.parametrize("name", SMALL)
def test_a_summary_is_of_the_real_shapes(name):
    """Each layer's output as it is when kernels compute, against the hollow ones of the summary."""
    architecture, seen = find(name), {}
    model = architecture.new().eval()
    summary = model.summary(architecture.sample)
    for path, module in model.named_modules():
        if next(module.children(), None) is None:
            def watched(*args, forward=module.forward, path=path, **options):
                y = forward(*args, **options)
                seen.setdefault(path, [t.shape[1:] for t in (y if isinstance(y, tuple) else (y,))])
                return y

            module.forward = watched
    logits(model, architecture.sample, 1)
    shapes = {row.name: list(row.output) for row in reversed(summary.rows)}
    assert seen and all(shapes[path] == shape for path, shape in seen.items() if path in shapes)


@pytest.mark.parametrize("name", SMALL)
def test_weights_come_from_the_seed(name):
    def weights(seed):
        tc.manual_seed(seed)
        return np.concatenate([p.numpy().ravel() for p in find(name).new().parameters()])

    assert (weights(3) == weights(3)).all()
    assert (weights(3) != weights(4)).any()


def test_an_unknown_model_is_told_in_one_line_with_the_nearest():
    with pytest.raises(ModelError) as error:
        build("lenet", (1, 28, 28), 10)
    text = str(error.value)
    assert "'lenet'" in text and "did you mean 'lenet5'?" in text and "\n" not in text
    assert all(name in text for name in MODELS)


@pytest.mark.parametrize("name, image", [("lenet5", (1, 8, 8)), ("lenet5", (1, 32, 28)), ("cnn", (1, 3, 9)),
                                         ("digits", (1, 1, 8))])
def test_an_image_that_does_not_fit_is_told_with_its_size(name, image):
    with pytest.raises(ModelError, match=f"{image[1]}x{image[2]}"):
        build(name, image, 10)


def test_the_smallest_images_do_fit():
    assert logits(build("cnn", (1, 4, 4), 10), (1, 4, 4)).shape == (2, 10)
    assert logits(build("digits", (1, 2, 2), 10), (1, 2, 2)).shape == (2, 10)
