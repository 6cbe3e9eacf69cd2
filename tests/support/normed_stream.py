"""A small network that has a group of every class: rotations, invertible maps, scales, signs."""

from torch import Tensor, nn

__all__ = ["Normed"]


class Normed(nn.Module):
    """A stream between norms, with heads and a gated block: a group of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Linear(5, 12, bias=False)
        self.norm = nn.RMSNorm(12)
        self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)
        self.between = nn.RMSNorm(12)
        self.gate, self.up, self.down = nn.Linear(12, 7), nn.Linear(12, 7), nn.Linear(7, 12)
        self.last, self.head = nn.RMSNorm(12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.table(x)
        q, k, v = self.qkv(self.norm(stream)).unflatten(-1, (3, 3, 4)).permute(2, 0, 3, 1, 4)
        heads = nn.functional.scaled_dot_product_attention(q, k, v)
        stream = stream + self.out(heads.transpose(1, 2).flatten(2))
        inner = self.between(stream)
        stream = stream + self.down(nn.functional.silu(self.gate(inner)) * self.up(inner))
        head: Tensor = self.head(self.last(stream))
        return head
