import pytest
import torch
import torch.nn.functional as F

from ehr_pipeline.encoder.softmax import cross_entropy


def arrays(seed: int = 0, tokens: int = 7) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((tokens, 8), (50, 8), (50,)))
    targets = torch.randint(50, (tokens,), generator=generator)
    return (*(part.requires_grad_() for part in (hidden, weight, bias)), targets)


def gradients(loss: torch.Tensor, parts: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, parts[:3]))


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_it_is_the_usual_cross_entropy(factor: float) -> None:
    parts = arrays()
    ours = cross_entropy(*parts) * factor
    usual = F.cross_entropy(F.linear(parts[0], parts[1], parts[2]), parts[3], reduction="sum") * factor
    assert torch.allclose(ours, usual, atol=1e-5)
    for found, expected in zip(gradients(ours, parts), gradients(usual, parts), strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


def test_scores_far_apart_give_finite_losses() -> None:
    hidden, weight, bias, targets = arrays()
    loss = cross_entropy(hidden * 1e4, weight, bias, targets)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(part).all() for part in torch.autograd.grad(loss, (weight, bias)))


def test_no_token_at_all_has_no_loss() -> None:
    parts = arrays(tokens=0)
    loss = cross_entropy(*parts)
    assert loss.item() == 0
    assert all((part == 0).all() for part in gradients(loss, parts))


def test_bfloat16_is_near() -> None:
    parts = arrays()
    exact = cross_entropy(*parts)
    with torch.autocast("cpu", torch.bfloat16):
        low = cross_entropy(*parts)
    assert low.item() == pytest.approx(exact.item(), rel=0.02)
    for found, expected in zip(gradients(low, parts), gradients(exact, parts), strict=True):
        assert (found - expected).norm() < 0.03 * expected.norm()
