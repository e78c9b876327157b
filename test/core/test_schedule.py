"""The savings change nothing: ours equals the frame-by-frame schedule, at any shape."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sam2.modeling.sam.transformer import RoPEAttention
from torch import Tensor

from memorysam_core.architecture import Architecture
from memorysam_core.bench.frame_by_frame import FrameByFrame
from memorysam_core.memory import Memory, Rotation
from memorysam_core.model import MemorySAM


def small_model(seed: int = 0, **settings: object) -> MemorySAM:
    torch.manual_seed(seed)
    model = MemorySAM(Architecture("nano", num_classes=5, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


def random_frames(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def upsampled(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("version", ["2.0", "2.1"])
@torch.no_grad()
def test_equals_frame_by_frame_with_all_masks_upsampled(version: str) -> None:
    model, frames = small_model(version=version), random_frames(4, 2, 3, 96, 96)
    ours = upsampled(model(frames).logits, (96, 96))
    assert (ours - FrameByFrame(model)(frames)).abs().max() <= 1e-5


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30], ids=["large_frames", "small_frames"])
@torch.no_grad()
def test_encoding_as_one_batch_equals_one_by_one(
    cache_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memorysam_core.model.CACHE_BYTES", cache_bytes)
    model, frames = small_model(), random_frames(3, 2, 3, 64, 96)
    calls = []
    encode = model._encode
    monkeypatch.setattr(model, "_encode", lambda part: calls.append(len(part)) or encode(part))
    together = model.encode(frames)
    assert calls == ([6] if cache_bytes else [1] * 6)
    for i, frame in enumerate(frames):
        alone = encode(frame)
        for level in ("stride4", "stride8", "stride16"):
            difference = getattr(together[i], level) - getattr(alone, level)
            assert difference.abs().max() <= 1e-5


@torch.no_grad()
def test_reused_keys_and_values_equal_a_bank_filled_anew_for_every_frame() -> None:
    model, frames = small_model(version="2.1"), random_frames(4, 1, 3, 64, 64)
    features = model.encode(frames)
    sequence = [features[i] for i in range(4)]
    bank = model._empty_bank(sequence)
    memories = []
    generator = torch.Generator().manual_seed(1)
    for frame in sequence[:3]:
        mask = torch.randn(1, 1, 64, 64, generator=generator)
        encoded = model._encode_memory(frame.stride16, mask).flatten(2).transpose(1, 2)
        pointer = torch.randn(1, 4, 32, generator=generator)
        memories.append(Memory(encoded, pointer))
        bank.add(memories[-1])
        fresh = model._empty_bank(sequence)
        for memory in memories:
            fresh.add(memory)
        reused, anew = bank.read(sequence[3].stride16), fresh.read(sequence[3].stride16)
        assert (reused - anew).abs().max() <= 1e-6


@torch.no_grad()
def test_one_upsampling_of_the_mean_equals_the_mean_of_upsampled() -> None:
    logits = random_frames(4, 2, 5, 24, 40)
    size = (96, 160)
    separately = torch.stack([upsampled(frame, size) for frame in logits]).mean(0)
    assert (upsampled(logits.mean(0), size) - separately).abs().max() <= 1e-5


def brute_force_rotation(x: Tensor, height: int, width: int) -> Tensor:
    """Axial RoPE token by token and pair by pair, from its definition in complex numbers."""
    *_, tokens, dim = x.shape
    assert tokens == height * width
    out = torch.empty_like(x)
    quarter = dim // 4
    for token in range(tokens):
        row, column = divmod(token, width)
        for pair in range(dim // 2):
            place = column if pair < quarter else row
            angle = place * 10000.0 ** (-4.0 * (pair % quarter) / dim)
            number = torch.complex(x[..., token, 2 * pair], x[..., token, 2 * pair + 1])
            turned = number * torch.polar(torch.tensor(1.0), torch.tensor(angle))
            out[..., token, 2 * pair], out[..., token, 2 * pair + 1] = turned.real, turned.imag
    return out


@pytest.mark.parametrize(("height", "width"), [(4, 4), (3, 5), (9, 16)])
def test_rotation_equals_brute_force(height: int, width: int) -> None:
    x = random_frames(2, height * width, 16)
    rotation = Rotation.of_grid(height, width, 16, x.device)
    assert (rotation(x) - brute_force_rotation(x, height, width)).abs().max() <= 1e-5


@torch.no_grad()
def test_wide_input_equals_stock_modules_with_brute_force_rotation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    height, width = 64, 96  # 4 x 6 tokens
    model, frames = small_model(version="2.1"), random_frames(3, 1, 3, height, width)
    tokens = (height // 16) * (width // 16)

    def forward(self: RoPEAttention, q: Tensor, k: Tensor, v: Tensor, num_k_exclude_rope: int = 0):
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        q = brute_force_rotation(q, height // 16, width // 16)
        spatial = k.shape[1] - num_k_exclude_rope
        turned = [
            brute_force_rotation(part, height // 16, width // 16)
            for part in k[:, :spatial].split(tokens, dim=1)
        ]
        k = torch.cat([*turned, k[:, spatial:]], dim=1)
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
        return self.out_proj(weights @ v)

    ours = upsampled(model(frames).logits, (height, width))
    for layer in model.memory_attention.layers:
        monkeypatch.setattr(type(layer.self_attn), "forward", forward)
    assert (ours - FrameByFrame(model)(frames)).abs().max() <= 1e-5


@torch.no_grad()
def test_fused_equals_unfused() -> None:
    model, frames = small_model(), random_frames(4, 1, 3, 64, 96)
    before = model(frames)
    after = model.fuse()(frames)
    assert (before.logits - after.logits).abs().max() <= 1e-5
    assert (before.features - after.features).abs().max() <= 1e-5


@torch.no_grad()
def test_tables_of_positions_are_those_in_full_precision_while_training_in_bf16() -> None:
    """Else a model would learn with other positions than it runs with."""
    model = small_model()
    like = model.no_mem_embed.new_empty(1, 1, 5, 9)
    expected = model._grid_tables(like)
    model._tables.clear()
    with torch.autocast("cpu", torch.bfloat16):
        found = model._grid_tables(like)
    for name in ("current_position", "memory_position", "image_position"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_every_frame_counts_and_order_matters() -> None:
    model, frames = small_model(), random_frames(3, 1, 3, 64, 64)
    whole = model(frames).logits
    assert (model(frames[:2]).logits - whole).abs().max() > 1e-4
    assert (model(frames[[0, 2, 1]]).logits - whole).abs().max() > 1e-5


@pytest.mark.parametrize("choice", ["best_iou", "most_frequent", "confidence", "constant"])
def test_every_memory_mask_gives_finite_logits_and_gradients(choice: str) -> None:
    model = small_model(memory_mask=choice).train()
    model(random_frames(2, 1, 3, 64, 64)).logits.square().mean().backward()
    gradient = model.memory_encoder.pix_feat_proj.weight.grad
    assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0


@torch.no_grad()
def test_without_memory_the_sample_is_the_mean_of_its_frames_alone() -> None:
    model, frames = small_model(memory=False), random_frames(3, 2, 3, 64, 64)
    alone = torch.stack([model(frame[None]).logits for frame in frames]).mean(0)
    assert (model(frames).logits - alone).abs().max() <= 1e-5


def test_loading_other_weights_forgets_what_was_built_from_the_old() -> None:
    one, other = small_model(seed=1), small_model(seed=2)
    frames = random_frames(2, 1, 3, 64, 64)
    with torch.no_grad():
        one(frames)  # fills the tables of one
        one.load_state_dict(other.state_dict())
        assert torch.equal(one(frames).logits, other(frames).logits)


def test_training_goes_on_after_inference() -> None:
    model, frames = small_model(memory_mask="constant"), random_frames(2, 1, 3, 64, 64)
    model.image_encoder.requires_grad_(False)
    with torch.inference_mode():
        model(frames)  # fills the tables
    model(frames).logits.mean().backward()
    assert model.memory_attention.layers[0].linear1.weight.grad is not None


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 64, 64), "give (M, B, 3, H, W)"),
        ((0, 1, 3, 64, 64), "the sequence is empty"),
        ((1, 1, 3, 64, 100), "nearest is 64 x 96"),
    ],
)
def test_wrong_input_says_what_is_accepted(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        small_model()(torch.zeros(shape))
