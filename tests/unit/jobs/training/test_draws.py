"""What is drawn for a row is the row's: neither its batch nor its rank changes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from darkroom.jobs.training.draws import RowDraws, mix
from darkroom.jobs.training.seeding import row_key

ROWS = torch.tensor([row_key(f"row-{number}") for number in range(4000)])
EPOCHS = torch.zeros_like(ROWS)
EVERY_DRAW: dict[str, Callable[[RowDraws], Tensor]] = {
    "normal": lambda draws: draws.normal("noise", (3, 5)),
    "uniform": lambda draws: draws.uniform("crop", (2,)),
    "integers": lambda draws: draws.integers("timestep", 1000),
    "happens": lambda draws: draws.happens("flip", 0.5),
}


def test_the_generator_is_splitmix64() -> None:
    """The first outputs of the published generator for the state 1234567."""
    state = 1234567 + torch.arange(1, 6) * (0x9E3779B97F4A7C15 - 2**64)
    assert [value % 2**64 for value in mix(state).tolist()] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
        16408922859458223821,
    ]  # fmt: skip


@pytest.mark.parametrize("name", EVERY_DRAW)
@given(st.data())
def test_a_batch_may_be_cut_anywhere(name: str, data: st.DataObject) -> None:
    draw = EVERY_DRAW[name]
    whole = draw(RowDraws(3, ROWS[:40], EPOCHS[:40]))
    order = torch.tensor(data.draw(st.permutations(range(40))))
    cut = data.draw(st.integers(0, 40))
    parts = [draw(RowDraws(3, ROWS[at], EPOCHS[at])) for at in (order[:cut], order[cut:])]
    assert torch.equal(torch.cat(parts), whole[order])


def test_seed_epoch_row_and_name_each_change_a_draw() -> None:
    def drawn(seed: int = 0, epoch: int = 0, name: str = "noise", first: int = 0) -> Tensor:
        draws = RowDraws(seed, ROWS[first : first + 8], EPOCHS[:8] + epoch)
        return draws.normal(name, (4, 4))

    others = [drawn(seed=1), drawn(epoch=1), drawn(name="other"), drawn(first=8)]
    values = torch.cat([drawn(), *others]).flatten()
    assert len(set(values.tolist())) == len(values)
    assert torch.equal(drawn(), drawn())
    assert torch.equal(drawn(first=4)[:4], drawn()[4:])


def test_normals_are_normal() -> None:
    values = RowDraws(0, ROWS, EPOCHS).normal("noise", (257,)).double()
    count = values.numel()
    assert abs(float(values.mean())) < 4 / count**0.5
    assert abs(float(values.var()) - 1) < 4 * (2 / count) ** 0.5
    assert abs(float(values.pow(4).mean()) - 3) < 4 * (96 / count) ** 0.5
    within = torch.special.erf(torch.tensor([0.5, 1, 2, 3]).double() / 2**0.5)
    for limit, share in zip((0.5, 1, 2, 3), within.tolist(), strict=True):
        found = float((values.abs() < limit).double().mean())
        assert abs(found - share) < 4 * (share * (1 - share) / count) ** 0.5
    # Neither rows nor places in a row, nor an epoch and the next, go together.
    for one, other in (
        (values[:-1], values[1:]),
        (values[:, :-1], values[:, 1:]),
        (values[:, :128], values[:, 128:256]),
        (values, RowDraws(0, ROWS, EPOCHS + 1).normal("noise", (257,)).double()),
    ):
        assert abs(float((one * other).mean())) < 4 / one.numel() ** 0.5


def test_numbers_fill_their_range_evenly() -> None:
    epochs = EPOCHS.repeat(10) + torch.arange(10).repeat_interleave(len(ROWS))
    draws = RowDraws(0, ROWS.repeat(10), epochs)
    counts = torch.bincount(draws.integers("timestep", 7), minlength=7).double()
    expected = len(epochs) / 7
    assert float(((counts - expected) ** 2 / expected).sum()) < 22.5  # chi2(6), p = 0.001
    assert len(counts) == 7
    uniform = draws.uniform("crop")
    assert 0 <= float(uniform.min()) < 0.001
    assert 0.999 < float(uniform.max()) < 1
    assert float(draws.happens("flip", 0.1).double().mean()) == pytest.approx(0.1, abs=0.006)
    assert not draws.happens("flip", 0).any()
    assert draws.happens("flip", 1).all()


def test_drawn_values_never_change() -> None:
    """A change here would break every checkpoint's promise of an identical resume."""
    draws = RowDraws(7, ROWS[:3], EPOCHS[:3] + 2)
    assert ROWS[0] == row_key("row-0")
    assert draws.integers("timestep", 1000).tolist() == [611, 217, 665]
