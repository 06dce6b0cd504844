"""A vision-language model from a folder: a tiny one with random weights, of LLaVA's architecture, behind the same calls as a large one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402

from dragfield.core.instruction import DragInstruction, DrawnRegion  # noqa: E402
from dragfield.core.intent.answer import AnswerError  # noqa: E402
from dragfield.core.intent.local import _load, ask, generate, kept  # noqa: E402
from dragfield.core.intent.request import make_request  # noqa: E402
from dragfield.core.progress import Interrupted  # noqa: E402

DRAG = DragInstruction((DrawnRegion("relocation", [[[(0.2, 0.2), (0.4, 0.2), (0.4, 0.4), (0.2, 0.4)]]], (0.6, 0.5)),), size=(32, 32))
REQUEST = make_request(np.full((32, 32, 3), 90, np.uint8), DRAG)
TEMPLATE = (
    "{% for m in messages %}{{m['role']}}: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{c['text']}}"
    "{% endif %}{% endfor %}\n{% endfor %}assistant:"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vlm") / "tiny-llava"
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<pad>", "<eos>", "<image>"]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<eos>", "<image>"])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    pictures = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    transformers.LlavaProcessor(
        pictures, fast, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=TEMPLATE
    ).save_pretrained(path)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**small, num_hidden_layers=2, image_size=28, patch_size=14, projection_dim=16),
        text_config=transformers.LlamaConfig(
            **small, vocab_size=len(words), num_hidden_layers=1, num_key_value_heads=2, max_position_embeddings=8192
        ),
        image_token_index=words.index("<image>"),
    )
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(path)
    return path


def test_a_kept_model_is_loaded_once_and_answers_a_judge(folder: Path) -> None:
    kept.cache_clear()
    model, processor = kept(folder, "cpu")
    assert kept(folder, "cpu")[0] is model and model.dtype == torch.float32
    black = np.zeros((30, 40, 3), np.uint8)
    assert generate(model, processor, [black, black, black], "how good is it?", max_new_tokens=4)
    kept.cache_clear()


def test_a_model_from_a_folder_continues_what_it_is_shown(folder: Path) -> None:
    model, processor = _load(folder, "cpu", torch.float32)
    black, white = np.zeros((30, 40, 3), np.uint8), np.full((30, 40, 3), 255, np.uint8)
    reply = generate(model, processor, [black, black], "what is this?", max_new_tokens=6)
    assert reply and "what is this?" not in reply
    assert reply == generate(model, processor, [black, black], "what is this?", max_new_tokens=6)
    seen = [processor(text=["<image>"], images=[p], return_tensors="pt")["pixel_values"] for p in (black, white)]
    assert not torch.equal(*seen)


def test_words_without_sense_are_refused_by_the_models_name(folder: Path) -> None:
    with pytest.raises(AnswerError, match="tiny-llava was asked: .*try a larger model"):
        ask(folder, REQUEST, DRAG, dtype=torch.float32, max_new_tokens=8)


def test_a_cancelled_model_stops_within_a_token(folder: Path) -> None:
    asked = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Interrupted):
        ask(folder, REQUEST, DRAG, dtype=torch.float32, should_stop=should_stop, max_new_tokens=500)
    assert len(asked) < 8


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no config.json"):
        ask(tmp_path, REQUEST, DRAG)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="can't be loaded as a vision-language model"):
        ask(tmp_path, REQUEST, DRAG)
