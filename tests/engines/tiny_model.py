"""Makes the tests' model: a random-weight LLaMA of 1.4 MB with a real, trained byte-level vocabulary.

Its text is gibberish, but tokens, usage, streaming and slots are those of a real model.

    tiny_model.py OUT.gguf TEXT_FILE...
"""

import json
import sys

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 2048
LAYERS, WIDTH, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 2, 64, 4, 2, 128, 4096
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train(texts):
    """A tokenizer of VOCABULARY tokens over these files, and its vocabulary and merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"]


def main(out, texts):
    vocabulary, merges = train(texts)
    tokens = [None] * len(vocabulary)
    for token, number in vocabulary.items():
        tokens[number] = token
    types = [gguf.TokenType.CONTROL if t in SPECIAL else gguf.TokenType.NORMAL for t in tokens]

    w = gguf.GGUFWriter(out, "llama")
    w.add_name("relay-tiny-random")
    w.add_context_length(CONTEXT)
    w.add_embedding_length(WIDTH)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(FEED_FORWARD)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(WIDTH // HEADS)
    w.add_rope_freq_base(10000.0)
    w.add_vocab_size(len(tokens))
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    w.add_bos_token_id(vocabulary["<|im_start|>"])
    w.add_eos_token_id(vocabulary["<|im_end|>"])
    w.add_pad_token_id(0)
    w.add_add_bos_token(False)
    w.add_chat_template(TEMPLATE)

    random = np.random.default_rng(7)

    def weights(*shape):
        return (random.standard_normal(shape) * 0.08).astype(np.float32)

    def ones():
        return np.ones(WIDTH, np.float32)

    head = WIDTH // HEADS
    w.add_tensor("token_embd.weight", weights(len(tokens), WIDTH))
    w.add_tensor("output_norm.weight", ones())
    w.add_tensor("output.weight", weights(len(tokens), WIDTH))
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        w.add_tensor(block + "attn_norm.weight", ones())
        w.add_tensor(block + "ffn_norm.weight", ones())
        w.add_tensor(block + "attn_q.weight", weights(HEADS * head, WIDTH))
        w.add_tensor(block + "attn_k.weight", weights(KV_HEADS * head, WIDTH))
        w.add_tensor(block + "attn_v.weight", weights(KV_HEADS * head, WIDTH))
        w.add_tensor(block + "attn_output.weight", weights(WIDTH, HEADS * head))
        w.add_tensor(block + "ffn_gate.weight", weights(FEED_FORWARD, WIDTH))
        w.add_tensor(block + "ffn_up.weight", weights(FEED_FORWARD, WIDTH))
        w.add_tensor(block + "ffn_down.weight", weights(WIDTH, FEED_FORWARD))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    print(out, len(tokens), "tokens")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
