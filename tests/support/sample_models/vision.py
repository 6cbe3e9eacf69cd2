"""Convolutional samples: VGG, residual networks and their variants, CIFAR ResNet-20."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zooalign.testing.models import cifar_resnet20

from .case import Case, L

__all__ = ["CASES"]


def _vgg() -> nn.Module:
    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [*stage(3, 6), nn.MaxPool2d(2), *stage(6, 8), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 * 4, 10), nn.ReLU(inplace=True), nn.Linear(10, 3))


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, middle: int, outputs: int, groups: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(self.bn1(self.conv1(x)))
        out = self.act(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += self.shortcut(x)
        return self.act(out)


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class _Headed(nn.Module):
    """A stem, some blocks, global pooling and a classifier."""

    def __init__(self, width: int, *blocks: nn.Module, last: int | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(last or width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


class _InvertedResidual(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width, inner, 1)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.gate = _SqueezeExcite(inner, 3)
        self.project = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.gate(F.relu6(self.depthwise(F.relu6(self.expand(x))))))


class _DepthMultiplier(nn.Module):
    """A depthwise convolution with two outputs for each input channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 1)
        self.depthwise = nn.Conv2d(5, 10, 3, groups=5)
        self.last = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.depthwise(F.relu(self.first(x)))).mean((2, 3)))


class _StandardisedConv(nn.Conv2d):
    """Weight standardisation, once by batch_norm as timm does it and once written out."""

    def __init__(self, *args: int, written_out: bool, **kwargs: int) -> None:
        super().__init__(*args, **kwargs)
        self.written_out = written_out
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        if self.written_out:
            mean, var = w.mean((1, 2, 3), keepdim=True), w.var((1, 2, 3), keepdim=True)
            w = (w - mean) / (var + 1e-5).sqrt() * self.gain
        else:
            flat = w.reshape(1, self.out_channels, -1)
            w = F.batch_norm(flat, None, None, weight=self.gain.view(-1), training=True).view_as(w)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


def _standardised(written_out: bool) -> nn.Module:
    return _Headed(
        6,
        _StandardisedConv(6, 8, 3, padding=1, written_out=written_out),
        nn.ReLU(),
        _StandardisedConv(8, 4, 3, padding=1, written_out=written_out, groups=2),
        last=4,
    )


class _DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6 + 4 * i) for i in range(3))
        self.squeeze = nn.ModuleList(nn.Conv2d(6 + 4 * i, 7, 1) for i in range(3))
        self.grow = nn.ModuleList(nn.Conv2d(7, 4, 3, padding=1) for _ in range(3))
        self.norm = nn.BatchNorm2d(18)
        self.transition = nn.Conv2d(18, 9, 1)
        self.head = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for norm, squeeze, grow in zip(self.norms, self.squeeze, self.grow, strict=True):
            inner = squeeze(F.relu(norm(torch.cat(features, 1))))
            features.append(grow(F.relu(inner)))
        x = self.transition(F.relu(self.norm(torch.cat(features, 1))))
        return self.head(F.avg_pool2d(x, 2).mean((2, 3)))


class _Res2Net(nn.Module):
    def __init__(self, width: int = 5, scale: int = 4) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Conv2d(3, width * scale, 1)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(scale - 1))
        self.last = nn.Conv2d(width * scale, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(F.relu(self.first(x)), self.width, 1)
        made: list[Tensor] = []
        for i, conv in enumerate(self.convs):
            made.append(F.relu(conv(parts[i] + made[-1] if made else parts[i])))
        x = self.last(torch.cat([*made, parts[-1]], 1))
        return self.head(F.relu(x).mean((2, 3)))


class _ShuffleNet(nn.Module):
    def __init__(self, native: bool = False) -> None:
        super().__init__()
        self.native = native
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.third = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(x))))
        if self.native:
            x = F.channel_shuffle(x, 2)
        else:
            b, c, h, w = x.shape
            x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.head(F.relu(self.third(x)).mean((2, 3)))


class _SplitAttention(nn.Module):
    """ResNeSt: radix branches by a grouped convolution, weighed by a softmax over the branches."""

    def __init__(
        self, inputs: int = 6, channels: int = 5, reduced: int = 4, radix: int = 2
    ) -> None:
        super().__init__()
        self.radix, self.channels = radix, channels
        self.conv = nn.Conv2d(inputs, channels * radix, 3, padding=1, groups=radix)
        self.bn = nn.BatchNorm2d(channels * radix)
        self.fc1 = nn.Conv2d(channels, reduced, 1)
        self.fc2 = nn.Conv2d(reduced, channels * radix, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.conv(x)))
        b, _, h, w = x.shape
        x = x.reshape(b, self.radix, self.channels, h, w)
        gap = x.sum(1).mean((2, 3), keepdim=True)
        gate = self.fc2(F.relu(self.fc1(gap))).view(b, 1, self.radix, -1).transpose(1, 2)
        gate = F.softmax(gate, dim=1).reshape(b, -1).view(b, self.radix, self.channels, 1, 1)
        return (x * gate).sum(1)


class _PixelShuffle(nn.Module):
    def __init__(self, written_out: bool) -> None:
        super().__init__()
        self.written_out = written_out
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.up = nn.Conv2d(5, 6 * 4, 3, padding=1)
        self.last = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(F.relu(self.first(x)))
        if self.written_out:
            b, _, h, w = x.shape
            x = x.view(b, 6, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, 6, 2 * h, 2 * w)
        else:
            x = F.pixel_shuffle(x, 2)
        return self.last(F.relu(x))


class _PatchMerging(nn.Module):
    """Space to depth: the stream stands four times in one axis."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout = layout
        self.embed = nn.Conv2d(3, 5, 1)
        self.norm = nn.LayerNorm(20)
        self.reduction = nn.Linear(20, 7, bias=False)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).permute(0, 2, 3, 1)
        b, h, w, c = x.shape
        if self.layout == "cat":
            quarters = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
            x = torch.cat(quarters, -1)
        elif self.layout == "reshape":
            x = x.reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        else:
            x = F.pixel_unshuffle(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        return self.head(self.reduction(self.norm(x)).mean((1, 2)))


class _GroupNormed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.last = nn.Conv2d(8, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.norm(self.first(x))))


def _image(size: int = 8) -> tuple[Tensor]:
    return (torch.zeros(2, 3, size, size),)


CASES: dict[str, Case] = {
    # Stage two's channels 8..23 are stage one's 16, stage three's 16..47 stage two's 32: the new
    # units of stage two are 8 + 8 = 16 that nothing tells apart, of stage three 16 + 16 = 32.
    "cifar_resnet20": Case(
        cifar_resnet20,
        lambda: _image(16),
        2 * L(16) + L(32) + 3 * (L(16) + L(32) + L(64)),
    ),
    # Every hidden layer; the flattened 8 channels carry 2 x 2 positions each.
    "vgg_flatten": Case(_vgg, _image, L(6) + L(8) + L(10)),
    # Stream 6, then 8 (behind a projection), two inner layers in each block.
    "bottleneck": Case(
        lambda: _Headed(6, _Bottleneck(6, 4, 8), _Bottleneck(8, 5, 8), last=8),
        _image,
        L(6) + L(8) + 2 * L(4) + 2 * L(5),
    ),
    # Inside: 2 groups, 3 inputs and 3 outputs in each.
    "grouped_bottleneck": Case(
        lambda: _Headed(8, _Bottleneck(8, 6, 8, groups=2)),
        _image,
        L(8) + L(2) + 4 * L(3),
    ),
    # Reduced channels of the gate are units too.
    "squeeze_excite": Case(lambda: _Headed(6, _SqueezeExcite(6, 4)), _image, L(6) + L(4)),
    # Depthwise: input and output channels are one set.
    "inverted_residual": Case(
        lambda: _Headed(6, _InvertedResidual(6, 9)), _image, L(6) + L(9) + L(3)
    ),
    # Five channels, and the two outputs of each may be swapped for each channel.
    "depth_multiplier": Case(_DepthMultiplier, _image, L(5) + 5 * L(2)),
    # 6 in two groups is stem's own set; the grouped layer takes 8 in 2 groups of 4.
    "weight_standardised": Case(
        lambda: _standardised(False), _image, L(6) + L(2) + 2 * L(4) + 2 * L(2)
    ),
    "weight_standardised_written_out": Case(
        lambda: _standardised(True), _image, L(6) + L(2) + 2 * L(4) + 2 * L(2)
    ),
    # Each growth is its own set wherever it stands, as is each squeezed layer.
    "densenet": Case(_DenseNet, _image, L(6) + 3 * L(7) + 3 * L(4) + L(9)),
    # Split 0; split 1 with the first output added; split 2 with the second; third output; split 3.
    "res2net": Case(_Res2Net, _image, 5 * L(5) + L(6)),
    # Middle layer: 2 groups i by 2 groups j of the next layer by 2 units in each cell: units in
    # each of the 4 cells, rows i (with 4 inputs in each) and columns j (with 4 outputs in each).
    "channel_shuffle": Case(_ShuffleNet, _image, 6 * L(2) + 4 * L(4)),
    "channel_shuffle_native": Case(lambda: _ShuffleNet(True), _image, 6 * L(2) + 4 * L(4)),
    # The two branches with their 3 inputs each; channels are summed over branches, so one order.
    "radix_split_attention": Case(
        lambda: _Headed(6, _SplitAttention(), last=5),
        _image,
        L(2) + 2 * L(3) + L(5) + L(4),
    ),
    "pixel_shuffle": Case(lambda: _PixelShuffle(False), _image, L(5) + L(6)),
    "pixel_shuffle_written_out": Case(lambda: _PixelShuffle(True), _image, L(5) + L(6)),
    # The stream moves in all four quarters alike; which quarter is which is fixed.
    "patch_merging_cat": Case(lambda: _PatchMerging("cat"), _image, L(5) + L(7)),
    "patch_merging_reshape": Case(lambda: _PatchMerging("reshape"), _image, L(5) + L(7)),
    "patch_merging_unshuffle": Case(lambda: _PatchMerging("unshuffle"), _image, L(5) + L(7)),
    # Two groups of four.
    "group_norm": Case(_GroupNormed, _image, L(2) + 2 * L(4)),
}
