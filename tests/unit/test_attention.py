import pytest
import torch

from dragfield.core.backbones.flux import DiffusersFlux
from dragfield.core.model.attention import OWN_KEYS_VALUES, KVBank, paired_entry
from dragfield.core.model.backbone import Conditioning
from dragfield.core.model.blocks import choose_blocks
from dragfield.core.model.taps import default_taps
from dragfield.core.sampling.schedules import flux_schedule, inversion_times, sampling_times
from dragfield.core.sampling.solvers import fireflow

diffusers = pytest.importorskip("diffusers")

NON_RIDGE = {("double", i) for i in (0, 7, 8, 9, 10, 18)} | {("single", i) for i in (6, 9, 18, 23, 26, 31, 37)}
BLOCK = ("double", 0)


def make_backbone(dtype=torch.float32):
    torch.manual_seed(0)
    model = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=3, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=12, pooled_projection_dim=6, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.15)
    return DiffusersFlux(model.to(dtype))


def make_inputs(dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    cond = Conditioning(torch.randn(1, 5, 12, generator=g).to(dtype), torch.randn(1, 6, generator=g).to(dtype))
    return torch.randn(1, 4, 6, 8, generator=g).to(dtype), cond


def doubled(hidden):
    return hidden * 2, hidden * 3


def bank_of(*entries):
    """A bank of one block whose entry at time t has K = t everywhere."""
    bank = KVBank({BLOCK})
    for t in entries:
        bank.capture().begin(t).keys_values(BLOCK, torch.full((1, 3, 4), float(t)), lambda h: (h, -h), 0)
    return bank


def key_of(session, t):
    hidden = torch.full((1, 3, 4), 100.0)
    return session.begin(t).keys_values(BLOCK, hidden, doubled, 0)[0][0, 0, 0].item()


def test_published_blocks_of_flux():
    assert choose_blocks("non_ridge", 19, 38) == NON_RIDGE
    position = {("double", i) for i in (1, 2, 4)} | {("single", i) for i in (7, 11, 35, 36)}
    assert choose_blocks("position", 19, 38) == position
    assert len(choose_blocks("all", 19, 38)) == 57
    assert choose_blocks("none", 19, 38) == frozenset()


def test_auto_is_the_published_choice_for_flux_and_the_last_block_for_others():
    assert choose_blocks("auto", 19, 38) == NON_RIDGE
    assert choose_blocks("auto", 4, 6) == {("single", 5)}
    assert choose_blocks("auto", 4, 0) == {("double", 3)}


def test_other_depths_take_the_same_relative_depths_once():
    demo = {("double", i) for i in (0, 1, 2, 3)} | {("single", i) for i in (1, 2, 3, 4, 5)}
    assert choose_blocks("non_ridge", 4, 6) == demo
    assert choose_blocks("non_ridge", 5, 0) == {("double", 0), ("double", 2), ("double", 4)}
    assert choose_blocks("non_ridge", 1, 1) == {("double", 0), ("single", 0)}
    assert len(choose_blocks("all", 30, 2)) == 32


def test_explicit_blocks_are_taken_or_refused():
    assert choose_blocks([("single", 1)], 2, 2) == {("single", 1)}
    for bad in (("single", 2), ("double", -1), ("triple", 0)):
        with pytest.raises(ValueError, match="is not in this model"):
            choose_blocks([bad], 2, 2)
    with pytest.raises(ValueError, match="'ridge' is unknown"):
        choose_blocks("ridge", 19, 38)


@pytest.mark.parametrize("text_in_single", [True, False])
@pytest.mark.parametrize("blocks", ["non_ridge", "all"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_replay_of_own_keys_and_values_is_bit_identical(text_in_single, blocks, dtype):
    backbone = make_backbone(dtype)
    z, cond = make_inputs(dtype)
    bank = KVBank(choose_blocks(blocks, 3, 2), text_in_single=text_in_single)
    with torch.no_grad():
        captured = backbone.velocity(z, 0.5, cond, guidance=2.0, kv=bank.capture())
        assert torch.equal(backbone.velocity(z, 0.5, cond, guidance=2.0, kv=bank.hold()), captured)
        assert torch.equal(backbone.velocity(z, 0.5, cond, guidance=2.0, kv=bank.replay("matched")), captured)
        assert torch.equal(backbone.velocity(z, 0.5, cond, guidance=2.0, kv=bank.replay("lifo")), captured)


def test_capturing_whole_blocks_does_not_change_the_call():
    backbone = make_backbone()
    z, cond = make_inputs()
    bank = KVBank(choose_blocks("all", 3, 2), text_in_single=True)
    with torch.no_grad():
        captured = backbone.velocity(z, 0.5, cond, kv=bank.capture())
        assert torch.equal(captured, backbone.velocity(z, 0.5, cond))


def test_foreign_keys_and_values_change_the_result():
    backbone = make_backbone()
    z, cond = make_inputs()
    for block in choose_blocks("all", 3, 2):
        bank = KVBank({block})
        with torch.no_grad():
            backbone.velocity(z.flip(-1), 0.5, cond, kv=bank.capture())
            own = backbone.velocity(z, 0.5, cond)
            assert not torch.allclose(backbone.velocity(z, 0.5, cond, kv=bank.hold()), own, atol=1e-4)


def test_what_is_stored_is_the_output_of_the_plain_linear_layers():
    backbone = make_backbone()
    z, cond = make_inputs()
    seen = {}
    for kind, i, block in [("double", 1, backbone.model.transformer_blocks[1]),
                           ("single", 1, backbone.model.single_transformer_blocks[1])]:  # fmt: skip
        for name in ("to_k", "to_v"):
            getattr(block.attn, name).register_forward_hook(
                lambda m, args, out, key=(kind, i, name): seen.setdefault(key, out)
            )
    bank = KVBank({("double", 1), ("single", 1)}, text_in_single=True)
    with torch.no_grad():
        backbone.velocity(z, 0.5, cond, kv=bank.capture())
    (entry,) = bank.entries
    assert entry.t == 0.5
    for kind, i in (("double", 1), ("single", 1)):
        for stored, name in zip(entry.blocks[kind, i], ("to_k", "to_v"), strict=True):
            assert torch.equal(stored, seen[kind, i, name])
    assert entry.blocks["double", 1][0].shape == (1, 12, 32)  # image tokens only
    assert entry.blocks["single", 1][0].shape == (1, 17, 32)  # text, then image


def test_without_text_single_blocks_remember_image_tokens_only():
    backbone = make_backbone()
    z, cond = make_inputs()
    bank = KVBank({("single", 0)})
    with torch.no_grad():
        backbone.velocity(z, 0.5, cond, kv=bank.capture())
    assert bank.entries[0].blocks["single", 0][0].shape == (1, 12, 32)
    assert bank.nbytes == 2 * 12 * 32 * 4


def test_injected_double_blocks_never_project_image_tokens():
    backbone = make_backbone()
    z, cond = make_inputs()
    bank = KVBank({("double", 1)})
    with torch.no_grad():
        backbone.velocity(z, 0.5, cond, kv=bank.capture())
    ran = []
    for i, block in enumerate(backbone.model.transformer_blocks):
        for name in ("to_k", "to_v"):
            getattr(block.attn, name).register_forward_hook(lambda *_, key=(i, name): ran.append(key))
    backbone.features(z, 0.5, cond, taps=default_taps(3), kv=bank.hold())
    assert ran == [(0, "to_k"), (0, "to_v"), (2, "to_k"), (2, "to_v")]


def test_no_gradient_flows_through_injected_keys_and_values_for_any_eta():
    bank = bank_of(0.5)
    hidden = torch.ones(1, 3, 4, requires_grad=True)
    for eta in (0.0, 0.4, 1.0):
        keys, values = bank.hold(eta=eta).begin(0.5).keys_values(BLOCK, hidden, doubled, 0)
        assert not keys.requires_grad and not values.requires_grad


def test_eta_blends_from_the_remembered_to_the_own():
    bank = bank_of(0.5)
    hidden = torch.full((1, 3, 4), 10.0)
    for eta, expected in ((0.0, 0.5), (0.25, 0.25 * 20 + 0.75 * 0.5), (1.0, 20.0)):
        keys, _ = bank.hold(eta=eta).begin(0.5).keys_values(BLOCK, hidden, doubled, 0)
        assert keys.unique().tolist() == pytest.approx([expected])


@pytest.mark.parametrize("text_in_single", [False, True])
def test_only_the_tokens_chosen_are_given_what_is_remembered(text_in_single):
    block = ("single", 0)
    bank = KVBank({block}, text_in_single=text_in_single)
    bank.capture().begin(0.5).keys_values(block, torch.full((1, 5, 4), 50.0), doubled, 2)
    replay = bank.replay(where=torch.tensor([True, False, True]))
    keys, values = replay.begin(0.5).keys_values(block, torch.ones(1, 5, 4), doubled, 2)
    text = 2 * [100.0 if text_in_single else 2.0]
    assert keys[0, :, 0].tolist() == [*text, 100.0, 2.0, 100.0]
    assert values[0, 2:, 0].tolist() == [150.0, 3.0, 150.0]


def test_a_choice_among_the_tokens_of_another_picture_is_refused():
    replay = bank_of(0.5).replay(where=torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="among 4 tokens, the picture has 3"):
        key_of(replay, 0.5)


def test_text_keys_of_single_blocks_stay_the_blocks_own_and_keep_their_gradient():
    block = ("single", 0)
    bank = KVBank({block})
    bank.capture().begin(0.5).keys_values(block, torch.zeros(1, 5, 4), doubled, 2)
    hidden = torch.ones(1, 5, 4, requires_grad=True)
    for eta in (0.0, 0.5):
        keys, _ = bank.hold(eta=eta).begin(0.5).keys_values(block, hidden, doubled, 2)
        assert keys[0, :, 0].tolist() == [2.0, 2.0] + 3 * [eta * 2.0]
        (g,) = torch.autograd.grad(keys.sum(), hidden)
        assert g[0, :, 0].tolist() == [2.0, 2.0, 0.0, 0.0, 0.0]


def test_pairing_is_the_published_table():
    # dragflow.md section 3.4: call 0 is the first velocity (and the drag loop), call r + 1 the midpoint of round r.
    assert paired_entry(0, 20, "lifo") == paired_entry(0, 20, "matched") == 19
    assert [paired_entry(r + 1, 20, "lifo") for r in range(19)] == [18 - r for r in range(19)]
    assert [paired_entry(r + 1, 20, "matched") for r in range(19)] == [19 - r for r in range(19)]
    assert paired_entry(50, 20, "lifo") == 0


@pytest.mark.parametrize("pairing", ["lifo", "matched"])
def test_a_sampling_run_is_fed_the_entries_of_the_table(pairing):
    ts = flux_schedule(1024)
    bank, z = KVBank({BLOCK}), torch.zeros(1, 3, 4, 4)
    capture = bank.capture()

    def record(latent, t):
        capture.begin(t).keys_values(BLOCK, torch.full((1, 3, 4), t), lambda h: (h, h), 0)
        return torch.ones_like(latent)

    list(fireflow(record, z, inversion_times(ts)))
    times = [entry.t for entry in bank.entries]
    assert len(times) == 20
    assert times[0] == 0.0
    assert times[1:] == pytest.approx([(ts[26 - j] + ts[25 - j]) / 2 for j in range(1, 20)])

    used, replay = [], bank.replay(pairing)

    def sample(latent, t):
        used.append(times.index(pytest.approx(key_of(replay, t))))
        return torch.ones_like(latent)

    list(fireflow(sample, z, sampling_times(ts)))
    assert used == [paired_entry(call, 20, pairing) for call in range(20)]


def test_matched_pairing_finds_the_nearest_time_of_another_schedule():
    replay = bank_of(0.0, 0.2, 0.6).replay("matched")
    assert [key_of(replay, t) for t in (0.9, 0.5, 0.3, 0.05)] == pytest.approx([0.6, 0.6, 0.2, 0.0])


def test_holding_gives_every_call_the_same_entry():
    bank = bank_of(0.0, 0.2, 0.6)
    last, first = bank.hold(), bank.hold(0)
    assert [key_of(last, t) for t in (0.9, 0.1)] == pytest.approx([0.6, 0.6])
    assert [key_of(first, t) for t in (0.9, 0.1)] == pytest.approx([0.0, 0.0])


def test_replays_of_one_bank_do_not_disturb_each_other():
    bank = bank_of(0.0, 0.2, 0.6)
    one, other = bank.replay("lifo"), bank.replay("lifo")
    assert [key_of(one, 0.6), key_of(one, 0.4), key_of(other, 0.6)] == pytest.approx([0.6, 0.2, 0.6])


@pytest.mark.parametrize(
    ("options", "injected"),
    [
        ({}, [1, 1, 1, 1]),
        ({"except_last": 2}, [1, 1, 0, 0]),
        ({"rounds": "on_drag"}, [1, 0, 0, 0]),
        ({"rounds": "after_drag"}, [0, 1, 1, 1]),
        ({"rounds": "after_drag", "except_last": 1}, [0, 1, 1, 0]),
    ],
)
def test_combinations_choose_the_calls_that_are_injected(options, injected):
    replay = bank_of(0.0, 0.2, 0.4, 0.6).replay("lifo", **options)
    assert [int(key_of(replay, 0.5) != 200.0) for _ in range(4)] == injected


def test_blocks_that_were_not_chosen_keep_their_own():
    hidden = torch.ones(1, 3, 4)
    call = bank_of(0.5).hold().begin(0.5)
    assert torch.equal(call.keys_values(("double", 1), hidden, doubled, 0)[0], hidden * 2)
    assert torch.equal(OWN_KEYS_VALUES.keys_values(BLOCK, hidden, doubled, 0)[1], hidden * 3)


def test_one_capture_serves_a_batch_of_branches():
    keys, _ = bank_of(0.5).hold().begin(0.5).keys_values(BLOCK, torch.ones(2, 3, 4), doubled, 0)
    assert keys.shape == (2, 3, 4)


def test_a_bank_keeps_what_it_was_told_to():
    hidden = torch.randn(1, 3, 4)
    bank = KVBank({BLOCK}, dtype=torch.bfloat16, placement="cpu")
    bank.capture().begin(0.5).keys_values(BLOCK, hidden, doubled, 0)
    assert bank.entries[0].blocks[BLOCK][0].dtype == torch.bfloat16
    assert bank.nbytes == 2 * 12 * 2
    keys, _ = bank.hold().begin(0.5).keys_values(BLOCK, hidden, doubled, 0)
    assert keys.dtype == torch.float32


def test_what_is_remembered_does_not_follow_later_changes():
    hidden = torch.ones(1, 3, 4)
    bank = KVBank({BLOCK})
    keys, _ = bank.capture().begin(0.5).keys_values(BLOCK, hidden, doubled, 0)
    keys.zero_()
    assert bank.entries[0].blocks[BLOCK][0].unique().item() == 2.0


def test_an_inversion_in_inference_mode_can_be_dragged_after():
    backbone = make_backbone()
    z, cond = make_inputs()
    bank = KVBank(choose_blocks("all", 3, 2))
    with torch.inference_mode():
        backbone.velocity(z, 0.5, cond, kv=bank.capture())
    leaf = z.clone().requires_grad_()
    found = backbone.features(leaf, 0.5, cond, taps=default_taps(3), kv=bank.hold())
    (g,) = torch.autograd.grad(sum(f.square().sum() for f in found), leaf)
    assert g.abs().max() > 0


def test_a_picture_of_another_size_is_refused():
    call = bank_of(0.5).hold().begin(0.5)
    with pytest.raises(ValueError, match=r"captured for \[batch, tokens\] = \[1, 3\], this call has \[1, 7\]"):
        call.keys_values(BLOCK, torch.ones(1, 7, 4), doubled, 0)


def test_impossible_sessions_are_refused():
    empty, bank = KVBank({BLOCK}), bank_of(0.5)
    with pytest.raises(ValueError, match="nothing was captured"):
        empty.hold()
    with pytest.raises(ValueError, match="nothing was captured"):
        empty.replay()
    with pytest.raises(ValueError, match="eta = 1.5"):
        bank.replay(eta=1.5)
    with pytest.raises(ValueError, match="entry 1 does not exist"):
        bank.hold(1)
    with pytest.raises(ValueError, match="'fifo' is unknown"):
        bank.replay("fifo")
    with pytest.raises(ValueError, match="'sometimes' is unknown"):
        bank.replay(rounds="sometimes")
    with pytest.raises(ValueError, match="'disk' is unknown"):
        KVBank({BLOCK}, placement="disk")
