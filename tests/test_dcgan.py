"""DCGAN: what its losses are by hand, whom a step moves, that it learns, and that a stopped run goes on bit for bit."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
from typer.testing import CliRunner

import tinyconv as tc
from tinyconv.cli import app, main
from tinyconv.data import digits
from tinyconv.train import TrainError
from tinyconv.train.checkpoint import read_tensors, write_tree
from tinyconv.train.dcgan import NOISE, Game, Players, make, play

SMALL = Game("digits", epochs=2, batch_size=64, width=4)


def weights(model):
    return {name: p.numpy().copy() for name, p in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def batch(n=16):
    rng = np.random.default_rng(0)
    return digits()[0][:n] * np.float32(2 / 16) - 1, rng.standard_normal((n, NOISE), np.float32)


def test_losses_where_the_discriminator_says_half():
    """Its last layer 0: D is 1/2 for all, -log 1/2 twice for the one, once for the other; and no logit is above 0."""
    players = Players(SMALL)
    for p in players.discriminator.judge.parameters():
        p.data[...] = 0
    for optimiser in players.optimisers:
        optimiser.param_groups[0]["lr"] = 0.0
    assert players.step(*batch()) == pytest.approx((2 * log(2), log(2), 0, 0), rel=1e-6)


@pytest.mark.parametrize("moves", [0, 1])
def test_each_step_moves_its_own_player(moves):
    """With the rate of the other at 0: weights of only one change, and the generator's slope leaves none in the judge."""
    players = Players(SMALL)
    players.optimisers[1 - moves].param_groups[0]["lr"] = 0.0
    both = players.generator, players.discriminator
    before = [{name: p.numpy().copy() for name, p in m.named_parameters()} for m in both]
    players.step(*batch())
    after = [{name: p.numpy() for name, p in m.named_parameters()} for m in both]
    assert [same(a, b) for a, b in zip(before, after)] == [moves == 1, moves == 0]
    assert all(p.requires_grad for p in players.discriminator.parameters())


def test_the_discriminator_learns_to_tell():
    """The generator standing still, 30 steps on the same images."""
    players = Players(replace(SMALL, lr=0.002))
    players.optimisers[0].param_groups[0]["lr"] = 0.0
    rounds = [players.step(*batch()) for _ in range(30)]
    assert rounds[-1][0] < 0.5 * rounds[0][0]
    assert rounds[-1][2:] == (1, 1)  # real ones above 0, made ones below


def test_the_generator_learns_to_fool():
    """The discriminator standing still, 30 steps on the same noise."""
    players = Players(replace(SMALL, lr=0.002))
    players.optimisers[1].param_groups[0]["lr"] = 0.0
    logits = []
    for _ in range(30):
        made = players.generator(tc.tensor(batch()[1]))
        logits.append(players.discriminator(made).numpy().mean())
        players.step(*batch())
    assert logits[-1] > logits[0] + 0.05  # more real, which a loss that falls towards 0 instead of 1 would not make them


def test_a_stopped_run_ends_like_one_that_was_not(tmp_path):
    whole = play(SMALL, tmp_path / "whole")
    asked = iter([False] * 25 + [True])  # in the second epoch: one has 22 batches
    stopped = play(SMALL, tmp_path / "parts", stop=lambda: next(asked))
    assert len(stopped.history) == 1
    ended = play(SMALL, tmp_path / "parts")
    assert ended.history == whole.history and len(whole.history) == 2
    for name in ("generator", "discriminator"):
        assert same(weights(getattr(whole, name)), weights(getattr(ended, name)))
    kept, _ = read_tensors(tmp_path / "parts" / "generator.safetensors")
    assert same(kept, weights(whole.generator))
    assert np.array_equal(whole.samples(3), ended.samples(3))
    with pytest.raises(TrainError, match="begun with width=4, not 5"):
        play(replace(SMALL, width=5), tmp_path / "parts")


@pytest.mark.parametrize("part, value, words", [
    ("generator", {}, "the state does not fit Generator: missing"), ("optimisers", [1, 2], "not subscriptable"),
    ("optimisers", np.zeros(2), "invalid index"), ("discriminator", [], "no attribute 'items'|does not fit Discriminator"),
])
def test_a_checkpoint_that_does_not_fit_is_told(tmp_path, part, value, words):
    write_tree(tmp_path / "checkpoint.safetensors", {**Players(SMALL).state_dict(), part: value})
    with pytest.raises(TrainError, match=f"cannot go on from .*checkpoint.safetensors: .*({words})"):
        play(SMALL, tmp_path)


def test_samples_are_images_of_the_seed():
    players = Players(SMALL)
    images = players.samples(5)
    assert images.shape == (5, 1, 8, 8) and 0 <= images.min() and images.max() <= 1
    assert np.array_equal(images, make(players.generator, 5, 0)) and players.generator.training
    assert not np.array_equal(images, make(players.generator, 5, 1))


def test_the_command_leaves_a_sheet_an_epoch(tmp_path):
    out = tmp_path / "run"
    args = ["dcgan", "--data", "digits", "--width", "4", "--out", str(out), "--epochs"]
    for epochs in ("1", "2"):  # the second goes on
        done = CliRunner().invoke(app, [*args, epochs], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert "2/2" in done.output and "1/2" not in done.output
    for name in ("samples-001.png", "samples-002.png"):
        assert (out / name).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("args, says", [
    (("--data", "cifar"), "'cifar'"), (("--epochs", "0"), "epochs must be at least 1, got 0"),
    (("--lr", "-1"), "lr must be above 0, got -1")])
def test_what_makes_no_sense_is_told_in_a_line(args, says, capsys):
    with pytest.raises(SystemExit) as status:
        main(["dcgan", *args])
    line = capsys.readouterr().err
    assert status.value.code == 2 and line.count("\n") == 1 and says in line
