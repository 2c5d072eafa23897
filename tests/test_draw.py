"""Pictures: what they show is what the library computes, and the files are what they say."""

import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinyconv.cases import pools, small
from tinyconv.dims import conv_dims, conv_transpose_dims, pool_dims
from tinyconv.kernels.conv import reference
from tinyconv.plot import PlotError
from tinyconv.plot.draw import draw, few, panels
from tinyconv.plot.geometry import DATA, PADDING, ZERO, conv_scene, pool_scene, transposed_scene, unpool_scene
from tinyconv.plot.guide import SCENES, W, X
from tinyconv.plot.maps import feature_maps, stride_as_choice
from tinyconv.plot.matrix import matrix, positions, toeplitz

PLANES = [name for name, dims in small.items() if dims.rank == 2]
POOLS = [name for name, dims in pools.items() if dims.rank == 2]

# the numbers under the guide's figures 1.1, 1.2, 1.5 and 1.6
GUIDE = {
    "1.1-values": [[12, 12, 17], [10, 17, 19], [9, 6, 14]],
    "1.2-values-strides-padding": [[6, 17, 3], [8, 17, 13], [6, 4, 4]],
    "1.5-average-pooling": [[1.7, 1.7, 1.7], [1.0, 1.2, 1.8], [1.1, 0.8, 1.3]],
    "1.6-max-pooling": [[3, 3, 3], [3, 3, 3], [3, 2, 3]],
}


def integers(shape, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(float)


def one_channel(dims):
    """The same geometry for one image of one channel."""
    return type(dims)(1, 1, 1, dims.input, dims.kernel, dims.output, dims.stride, dims.padding, dims.dilation, 1)


@pytest.mark.parametrize("name", GUIDE)
def test_guide_values(name):
    assert np.round(SCENES[name][0]().right.values, 1).tolist() == GUIDE[name]


@pytest.mark.parametrize("name", PLANES)
def test_conv_scene_computes_the_convolution(name):
    dims = one_channel(small[name])
    x, w = integers(dims.input), integers(dims.kernel, 1)
    y = reference.conv(x[None, None], w[None, None], dims)[0, 0]
    np.testing.assert_array_equal(conv_scene(dims, x, w).right.values, y)


@pytest.mark.parametrize("name", PLANES)
def test_transposed_scene_computes_the_input_gradient(name):
    dims = one_channel(small[name])
    y, w = integers(dims.output), integers(dims.kernel, 1)
    x = reference.conv_input_grad(y[None, None], w[None, None], dims)[0, 0]
    np.testing.assert_array_equal(transposed_scene(dims, y, w).right.values, x)


@pytest.mark.parametrize("name", PLANES)
def test_matrix_computes_both(name):
    dims = one_channel(small[name])
    x, y, w = integers(dims.input), integers(dims.output, 2), integers(dims.kernel, 1)
    C = np.where(matrix(dims) < 0, 0, np.append(w.ravel(), 0)[matrix(dims)])
    np.testing.assert_array_equal(C @ x.ravel(), reference.conv(x[None, None], w[None, None], dims).ravel())
    np.testing.assert_array_equal(C.T @ y.ravel(), reference.conv_input_grad(y[None, None], w[None, None], dims).ravel())


def windows(dims, x):
    """Every window of x with nothing where it hangs over, and how many of its cells are inside the padded input."""
    for o in np.ndindex(dims.output):
        taps = [tuple(at * s + t * d - lo for at, s, t, d, (lo, _) in zip(o, dims.stride, tap, dims.dilation, dims.padding))
                for tap in np.ndindex(dims.kernel)]
        inside = [x[t] for t in taps if all(0 <= v < i for v, i in zip(t, dims.input))]
        yield o, inside, sum(all(-lo <= v < i + hi for v, i, (lo, hi) in zip(t, dims.input, dims.padding)) for t in taps)


@pytest.mark.parametrize("name", POOLS)
def test_pool_scene_computes_the_pooling(name):
    dims = pools[name]
    x = integers(dims.input)
    top, mean = pool_scene(dims, "max", x).right.values, pool_scene(dims, "average", x).right.values
    for o, inside, count in windows(dims, x):
        assert top[o] == max(inside)
        assert mean[o] == pytest.approx(sum(inside) / count, rel=1e-12)


@pytest.mark.parametrize("name", POOLS)
def test_unpool_scene_sends_every_number_to_a_maximum(name):
    dims = pools[name]
    x, y = integers(dims.input), integers(dims.output, 1)
    scene = unpool_scene(dims, x, y)
    assert scene.sent.values.sum() == y.sum()
    top = pool_scene(dims, "max", x).right.values
    assert {x[at] for at in zip(*scene.sent.values.nonzero())} <= set(top.ravel())


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(1, 2))
def test_a_scene_holds_the_padded_input_and_marks_what_is_never_read(i, k, s, p, d):
    assume(i + 2 * p > d * (k - 1))
    dims = conv_dims((1, 1, i, i), (1, 1, k, k), s, p, d)
    scene = conv_scene(dims)
    assert scene.left.shape == (i + 2 * p,) * 2
    assert (scene.left.roles == DATA).sum() == i * i and (scene.left.roles == PADDING).sum() == (i + 2 * p) ** 2 - i * i
    read = {o * s + t * d for o in range(dims.output[0]) for t in range(k)}
    used = [[r in read and c in read for c in range(i + 2 * p)] for r in range(i + 2 * p)]
    np.testing.assert_array_equal(~scene.left.unused, used)


def test_stretched_scene_counts_its_zeros():
    """Figure 4.7: 3x3 stretched to 5x5, a border of 1 and one more row and column at the end."""
    scene = transposed_scene(conv_transpose_dims((1, 1, 3, 3), (1, 1, 3, 3), 2, 1, 1))
    roles = scene.left.roles
    assert roles.shape == (8, 8)
    assert [(roles == role).sum() for role in (DATA, ZERO, PADDING)] == [9, 16, 39]
    assert "relationship 14" in scene.caption and "a = 1" in scene.caption


def test_captions_name_the_rule_of_each_dimension():
    assert "(relationship 6, padding and a stride)" in conv_scene(conv_dims((1, 1, 5, 7), (1, 1, 3, 3), 2, 1)).caption
    assert "(relationships 5 and 2, by dimension)" in conv_scene(conv_dims((1, 1, 5, 9), (1, 1, 3, 4), (2, 1), (0, 1))).caption
    assert "o = 4x3, with the last window hanging over" in pool_scene(pool_dims((1, 1, 7, 6), 2, ceil_mode=True), "max").caption
    assert "a = 1x0" in transposed_scene(conv_transpose_dims((1, 1, 3, 3), (1, 1, 3, 3), 2, 1, (1, 0))).caption


@pytest.mark.parametrize("suffix, start", [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".gif", b"GIF89a")])
def test_files(tmp_path, suffix, start):
    path, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    scene = conv_scene(conv_dims((1, 1, 4, 4), (1, 1, 3, 3)), X[:4, :4], W)
    draw(scene, path)
    draw(scene, again)
    assert path.read_bytes().startswith(start)
    assert path.read_bytes() == again.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, again.name]


def test_gif_has_a_frame_for_every_step(tmp_path):
    from PIL import Image

    draw(pool_scene(pool_dims((1, 1, 4, 4), 2), "max", X[:4, :4]), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.info["loop"]) == (4, 0)


def test_panels_show_the_numbers():
    """Every number of the input, the kernel and the finished output stands in the picture of the last step."""
    scene = conv_scene(conv_dims((1, 1, 5, 5), (1, 1, 3, 3), 2, 1), X, W)
    texts = [t.get_text() for t in panels(scene, [8]).axes[0].texts]
    assert "9 of 9" in texts and "input 5x5" in texts
    for v in (6, 17, 3, 8, 13, 4):
        assert str(v) in texts


def test_few_steps_tell_the_story():
    assert few(conv_scene(conv_dims((1, 1, 5, 5), (1, 1, 3, 3)))) == [0, 1, 3, 8]
    assert few(conv_scene(conv_dims((1, 1, 3, 3), (1, 1, 2, 2)))) == [0, 1, 2, 3]
    assert few(conv_scene(conv_dims((1, 1, 1, 9), (1, 1, 1, 2)))) == [0, 1, 6, 7]


def test_other_pictures(tmp_path):
    toeplitz(conv_dims((1, 1, 4, 4), (1, 1, 3, 3)), tmp_path / "c.svg")
    positions(conv_dims((1, 1, 5, 5), (1, 1, 3, 3), 2), tmp_path / "p.png")
    draw(unpool_scene(pool_dims((1, 1, 4, 4), 2), X[:4, :4], np.ones((2, 2))), tmp_path / "u.png")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("s", [2, 3])
def test_a_stride_keeps_one_cell_in_s(tmp_path, s):
    x, w = integers((7, 8)), integers((3, 2), 1)
    dims = conv_dims((1, 1, 7, 8), (1, 1, 3, 2), s)
    kept = stride_as_choice(x, w, s, tmp_path / "s.svg")
    np.testing.assert_array_equal(kept, reference.conv(x[None, None], w[None, None], dims)[0, 0])
    assert f"1 in {s}" in (tmp_path / "s.svg").read_text()


def test_feature_maps_have_a_kernel_for_every_pair(tmp_path):
    feature_maps(2, 3, tmp_path / "m.svg")
    text = (tmp_path / "m.svg").read_text()
    assert all(f"$w_{{{o},{c}}}$" in text for o in (1, 2, 3) for c in (1, 2)) and "$w_{3,3}$" not in text


@pytest.mark.parametrize("act, says", [
    (lambda at: draw(conv_scene(conv_dims((1, 1, 3, 3), (1, 1, 2, 2))), at / "a.bmp"), "'a.bmp' is none of them"),
    (lambda at: draw(conv_scene(conv_dims((1, 1, 3, 3), (1, 1, 2, 2))), at / "a.png", [4]), "steps 1 to 4"),
    (lambda at: draw(conv_scene(conv_dims((1, 1, 60, 60), (1, 1, 2, 2))), at / "a.png"), "60x60 cells is too large"),
    (lambda at: toeplitz(conv_dims((1, 1, 9, 9), (1, 1, 3, 3)), at / "a.png"), "matrix of 49x81"),
    (lambda at: conv_scene(conv_dims((1, 1, 9), (1, 1, 3))), "these dims have 1"),
    (lambda at: conv_scene(conv_dims((1, 1, 3, 3), (1, 1, 2, 2)), X, W), "got values of shape (5, 5)"),
])
def test_refusals(tmp_path, act, says):
    with pytest.raises(ValueError) as error:
        act(tmp_path)
    assert says in str(error.value)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match="pip install"):
        draw(conv_scene(conv_dims((1, 1, 3, 3), (1, 1, 2, 2))), tmp_path / "a.png")
