# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Merging while fine-tuning
#
# Two networks that were trained apart are fine-tuned, each on half of the classes. After every
# epoch they are merged, and the merge is scored on all classes. At the end the aligned network is
# trained on, with its optimizer. Needs `pip install '.[demo]'` in a clone, and less than a
# minute.

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn

import zooalign

torch.set_num_threads(1)  # the same numbers on every run
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
train, test = order[:1200], order[1200:]
calibration = [(x[train],)]  # inputs alone: a merge needs no labels
held_out = [(x[test], y[test])]


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def train_one_epoch(model, optimizer, rows):
    model.train()
    for batch in rows[torch.randperm(len(rows))].split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    model.eval()


def accuracy(model):
    with torch.no_grad():
        return (model(x[test]).argmax(1) == y[test]).float().mean().item()


# %% [markdown]
# ## Two networks, trained apart

# %%
first, second = network(0), network(1)
for model in (first, second):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(5):
        train_one_epoch(model, optimizer, train)
print(f"accuracy: {accuracy(first):.3f} and {accuracy(second):.3f}")

# %% [markdown]
# ## Fine-tune and merge as it goes
#
# The units are matched once, before fine-tuning: it moves weights a little, and units stay what
# they are. So `second` is aligned in place, and every merge after it needs no matching
# (`method="none"`), which costs no more than an average and a refit. Each network forgets the
# classes that it does not see.

# %%
zooalign.align(second, to=first, data=calibration, inplace=True)

low, high = train[y[train] < 5], train[y[train] >= 5]
merge = network(2).eval()
optimizers = [torch.optim.Adam(model.parameters(), lr=1e-3) for model in (first, second)]
for epoch in range(3):
    train_one_epoch(first, optimizers[0], low)
    train_one_epoch(second, optimizers[1], high)
    merged = zooalign.merge(first, second, data=calibration, method="none")
    merge.load_state_dict(merged.state_dict)
    print(
        f"epoch {epoch + 1}: {accuracy(first):.3f} (0 to 4), {accuracy(second):.3f} (5 to 9), "
        f"merge {accuracy(merge):.3f}"
    )
assert accuracy(merge) > max(accuracy(first), accuracy(second))

# %% [markdown]
# This is where a merge is of use: its parents know different things. How it stands beside them and
# beside their ensemble:

# %%
merged = zooalign.merge(first, second, data=calibration, method="none", evaluate=held_out)
print(merged.benefit.verdict)
print(f"ensemble {merged.benefit.ensemble.accuracy:.3f}, merge {merged.benefit.merge.accuracy:.3f}")

# %% [markdown]
# ## Go on training an aligned network
#
# Where a network is aligned in the middle of its training, the state of its optimizer has to
# follow: a moment belongs to one weight. `apply_to_optimizer` puts it in the same order.

# %%
third = network(3)
optimizer = torch.optim.Adam(third.parameters(), lr=1e-3)
train_one_epoch(third, optimizer, train)
loss = nn.functional.cross_entropy(third(x[test]), y[test]).item()

aligned = zooalign.align(third, to=first, data=calibration, inplace=True)
zooalign.apply_to_optimizer(optimizer, third, aligned)
after = nn.functional.cross_entropy(third(x[test]), y[test]).item()
print(f"loss before and after alignment: {loss:.6f}, {after:.6f}")
assert abs(loss - after) < 1e-4
train_one_epoch(third, optimizer, train)
print(f"one epoch later: {accuracy(third):.3f}")

# %% [markdown]
# With transformers' `Trainer`, a callback of [the
# plugin](../../plugins/zooalign-transformers/README.md) does this, and measures the barrier to a
# reference during training. Next: [Python by example](../python.md), [merging](../merging.md).
