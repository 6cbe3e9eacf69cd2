# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # A release through the gate
#
# From two checkpoints to a merge on a hub, with the checks between. The hub is one on this machine
# (`zooalign.testing.LoopbackHub`), so nothing leaves it and no account is needed. Needs
# `pip install '.[demo]'` in a clone; a minute or two, mostly the start of each command.
#
# ## Two checkpoints
#
# Two small networks of timm, trained on scikit-learn's digits and saved as timm does.

# %%
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from zooalign.testing import LoopbackHub

warnings.filterwarnings("ignore")
torch.set_num_threads(1)  # the same numbers on every run
digits = load_digits()
x = (digits.images / 16).astype(np.float32)[:, None].repeat(4, 2).repeat(4, 3)
y = digits.target.astype(np.int64)
np.savez("train.npz", x=x[:1200], y=y[:1200])
np.savez("test.npz", x=x[1200:], y=y[1200:])

for seed, name in enumerate(("a", "b")):
    torch.manual_seed(seed)
    model = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for rows in [r for _ in range(3) for r in torch.randperm(1200).split(64)]:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            model(torch.tensor(x[rows])), torch.tensor(y[rows])
        )
        loss.backward()
        optimizer.step()
    timm.models.save_for_hf(model, name, safe_serialization=True)
    Path(name, "README.md").write_text("---\nlicense: apache-2.0\n---\n\nDigits.\n")


# %% [markdown]
# Each step below is a command, as you would type it in a shell.


# %%
def zooalign(command, expect=0, environment=None):
    print("$ zooalign", command)
    done = subprocess.run(
        [sys.executable, "-m", "zooalign", *command.split(), "--quiet", "--no-color"],
        env={**os.environ, **(environment or {})}, capture_output=True, text=True,
    )  # fmt: skip
    print(done.stdout.strip())
    assert done.returncode == expect, done.stderr


# %% [markdown]
# ## Merge
#
# The directory that is written is one that timm loads, with the spec, the permutations, where it
# came from, digests and a model card beside the weights.

# %%
zooalign(
    "merge ./a ./b -o merged --method activation --data train.npz?slice=0:512 "
    "--evaluate test.npz --alphas 3"
)
print(sorted(str(p) for p in Path("merged").rglob("*") if p.is_file()))

# %% [markdown]
# ## The gate
#
# `check` recomputes what the record claims: the weights are the permuted average of the parents,
# the statistics are not stale, nothing in the directory runs code, the card names its parents.
# [Every check](../checks.md).

# %%
zooalign("check ./merged --parent ./a --parent ./b")

# %% [markdown]
# Somebody changes one number. The gate names the file and the tensor, with exit code 1.

# %%
path = Path("merged/model.safetensors")
untouched = path.read_bytes()
state = load_file(path)
state["layer2.0.conv1.weight"].view(-1)[0] += 0.25
save_file(state, path, metadata={"format": "pt"})
zooalign("check ./merged --parent ./a --parent ./b", expect=1)
_ = path.write_bytes(untouched)

# %% [markdown]
# ## Publish
#
# `publish` runs the gate again, sends every file in one commit, reads it back and compares. For the
# real hub, leave the environment as it is and log in with `hf auth login`.

# %%
with LoopbackHub(user="tester", xet=False) as hub:
    zooalign("publish ./merged --to tester/merged", environment=hub.env())
    zooalign(
        "check tester/merged --parent ./a --parent ./b --against ./merged",
        environment=hub.env(),
    )

# %% [markdown]
# In CI, the same gate runs by [pre-commit or a GitHub Action](../teams.md); what it requires is
# [a policy file](../checks.md#a-policy).
