# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Two transformers
#
# Two small GPT-2 of Hugging Face transformers learn the same made-up language from different seeds.
# Alignment lowers the barrier between them and does not remove it. Needs the plugin, from a clone:
# `pip install . ./plugins/zooalign-transformers matplotlib`. About a minute.
#
# ## A language, and two models of it
#
# Each token has one that usually follows it, and one token in five is drawn by chance.

# %%
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import zooalign

torch.set_num_threads(1)  # the same numbers on every run
TOKENS, LENGTH = 64, 12
FOLLOWS = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(0))


def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, TOKENS, (count, LENGTH), generator=generator)
    chance = torch.rand(count, LENGTH, generator=generator) < 0.2
    for n in range(1, LENGTH):
        ids[:, n] = torch.where(chance[:, n], ids[:, n], FOLLOWS[ids[:, n - 1]])
    return ids


def batches(count, seed):
    return [{"input_ids": ids, "labels": ids} for ids in rows(count, seed).split(64)]


# %%
def model_of(seed):
    torch.manual_seed(seed)
    configuration = GPT2Config(
        vocab_size=TOKENS, n_positions=LENGTH, n_embd=64, n_layer=2, n_head=4,
        bos_token_id=0, eos_token_id=0, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    return GPT2LMHeadModel(configuration)


def trained(seed, steps=150):
    model = model_of(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(steps):
        ids = rows(32, seed=1000 * (seed + 1) + step)
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return model.eval()


first, second = trained(0), trained(1)
held_out, calibration = batches(256, seed=1), batches(256, seed=2)
for model in (first, second):
    with torch.no_grad():
        print(f"loss {model(**held_out[0]).loss:.3f}")

# %% [markdown]
# ## Its symmetries
#
# Heads may change places as wholes, dimensions within a head with the same of queries and keys,
# units of the feed-forward layer, and the units of the residual stream, which all layers share.

# %%
spec = zooalign.extract_spec(first, {"input_ids": rows(2, 0)})
for group in spec.groups:
    print(group.structure, "-", len(group.members), "axes, such as", group.members[0].parameter)

# %% [markdown]
# ## Before and after
#
# Models and collators' batches are used as they are.

# %%
before = zooalign.barrier(first, second, data=held_out, alphas=5)
barriers = {"as they are": before}
for method in ("weight", "activation"):
    aligned = zooalign.align(second, to=first, data=calibration, method=method)
    barriers[method] = zooalign.barrier(first, aligned.state_dict, data=held_out, alphas=5)
for name, curve in barriers.items():
    print(f"{name:12} loss barrier {curve.barrier['loss'].over_line:.2f} nats a token")
assert barriers["activation"].barrier["loss"].over_line < before.barrier["loss"].over_line

# %% [markdown]
# A barrier is left: transformers have further symmetries, such as rotations, and their halves of
# a computation are learned in different ways. So an average of two language models of different
# seeds is no good model ([on real text](../experiments/text_pair.md)). What alignment is good for
# here: comparing networks unit by unit, carrying [LoRA
# adapters](../faq.md#does-it-work-with-lora), a start for training on.
#
# ## The same from directories
#
# ```sh
# zooalign align ./first ./second --method activation --data 'text.txt?length=128' -o aligned
# zooalign barrier ./first ./aligned --data 'held-out.txt?length=128'
# ```
