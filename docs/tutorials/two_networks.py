# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Two networks, from zero
#
# Two networks learn the same task from different seeds. Their average is useless, until the units
# of one are put in the order of the other's. You need zooalign, scikit-learn and matplotlib
# (`pip install '.[demo]'` in a clone), and less than a minute.
#
# ## Train two networks
#
# The data are scikit-learn's handwritten digits, 8 by 8 pixels.

# %%
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

import zooalign

torch.set_num_threads(1)  # the same numbers on every run
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
train, test = order[:1200], order[1200:]
calibration = [(x[train], y[train])]
held_out = [(x[test], y[test])]


# %%
def trained(seed):
    torch.manual_seed(seed)
    layers = []
    for inputs in (64, 128, 128, 128):
        layers += [nn.Linear(inputs, 128), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(128, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(10):
        for rows in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
    return network.eval()


def accuracy(network):
    with torch.no_grad():
        return (network(x[test]).argmax(1) == y[test]).float().mean().item()


first, second = trained(0), trained(1)
print(f"accuracy: {accuracy(first):.3f} and {accuracy(second):.3f}")

# %% [markdown]
# ## The plain average
#
# `method="none"` averages the weights as they are, `refit="none"` leaves them so.

# %%
average = trained(0)
plain = zooalign.merge(first, second, data=calibration, method="none", refit="none")
average.load_state_dict(plain.state_dict)
print(f"accuracy of the plain average: {accuracy(average):.3f}")

# %% [markdown]
# Unit 7 of one network has nothing to do with unit 7 of the other.
#
# ## What can be permuted
#
# zooalign traces the network and finds which axes have to move together. It reads no weights, and
# knows nothing of this architecture. Example inputs only give shapes.

# %%
spec = zooalign.extract_spec(first, x[:2])
for group in spec.groups:
    print(group.structure, [(m.parameter, m.axis) for m in group.members])

# %% [markdown]
# Each hidden layer's units may be put in any of 128! orders, if the rows of its weight, its bias
# and the columns of the next weight move along. The axes of pixels and of
# classes are frozen: somebody looks at them.

# %%
print(zooalign.explain(first, x[:2], "8.bias").text())

# %% [markdown]
# ## Align
#
# `align` finds the order that makes the second network most like the first. The network still
# computes the same, which was checked before it was returned. The matching needs inputs; labels are
# used where there are any.

# %%
aligned = zooalign.align(second, to=first, data=calibration)
same = trained(1)
same.load_state_dict(aligned.state_dict)
with torch.no_grad():
    change = (same(x[test]) - second(x[test])).abs().max().item()
print(f"{aligned.match.moved_fraction:.0%} of the units moved, outputs changed by {change:.1e}")
assert change < 1e-4

# %% [markdown]
# ## The line between them
#
# A *barrier* is how much worse it gets on the straight line from one network to the other.

# %%
before = zooalign.barrier(first, second, data=held_out, calibration=calibration, alphas=11)
after = zooalign.barrier(
    first, aligned.state_dict, data=held_out, calibration=calibration, alphas=11
)
for name, curve in (("as they are", before), ("aligned", after)):
    print(f"{name}: error barrier {curve.barrier['error'].over_line:.3f}")
assert after.barrier["error"].over_line < before.barrier["error"].over_line

# %%
figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
axes.plot(before.alphas, before.error, "o--", color="#b34700", label="as they are")
axes.plot(after.alphas, after.error, "s-", color="#00519e", label="aligned")
axes.set(
    xlabel="from the first (0) to the second (1)", ylabel="error, held-out digits", ylim=(0, 1)
)
axes.legend()
plt.show()

# %% [markdown]
# ## Merge
#
# `merge` aligns, averages, and fits the averaged weights to what both networks compute
# (a [refit](../merging.md)). With `evaluate` it says whether that was of use.

# %%
merged = zooalign.merge(first, second, data=calibration, evaluate=held_out)
average.load_state_dict(merged.state_dict)
print(f"accuracy of the merge: {accuracy(average):.3f}")
print(merged.benefit.verdict)
assert accuracy(average) > accuracy(first) - 0.05

# %% [markdown]
# These are two networks of one data set: do not expect a merge to beat both. Next: [when
# alignment helps](../when.md), [all methods](../matching.md), and [a release through the
# gate](release.ipynb).
