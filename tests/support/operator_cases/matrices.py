"""Cases of :mod:`operator_cases`: rules of ``matrices``."""

import torch
from sample_models import L

from .case import SIX, OperatorCase, case

__all__ = ["CASES"]

CASES: list[OperatorCase] = [
    # Rows and columns of the inverse change places with those of the matrix.
    case(
        "aten.linalg_inv_ex.default",
        lambda x, w: x @ torch.linalg.inv_ex(w)[0],
        2 * SIX,
        w=(6, 6),
    ),
    case("aten.inverse.default", lambda x, w: x @ torch.inverse(w), 2 * SIX, w=(6, 6)),
    # Three rows and three columns for each sample: no order of rows in each column.
    case(
        "aten.linalg_inv_ex.default",
        lambda x, p: torch.linalg.inv_ex(torch.einsum("bc,cij->bij", x, p))[0],
        SIX + 2 * L(3),
        p=(6, 3, 3),
    ),
    case(
        "aten.linalg_solve.default",
        lambda x, w: torch.linalg.solve(w, x.t()).t(),
        2 * SIX,
        w=(6, 6),
    ),
    case(
        "aten.linalg_solve.default",
        lambda x, w, p: torch.linalg.solve(w, p) * x,
        2 * SIX,
        w=(6, 6),
        p=(6,),
    ),
    case(
        "aten.linalg_solve.default",
        lambda x, w: torch.linalg.solve(w, x, left=False),
        2 * SIX,
        w=(6, 6),
    ),
    case(
        "aten.linalg_solve_ex.default",
        lambda x, w: torch.linalg.solve_ex(w, x.t())[0].t(),
        2 * SIX,
        w=(6, 6),
    ),
    case(
        "aten.linalg_slogdet.default",
        lambda x, w: x * torch.linalg.slogdet(w)[1],
        SIX + 2 * L(3),
        w=(3, 3),
    ),
    # Two rows and two columns at once: of two, no other exchange keeps the sign.
    case(
        "aten.linalg_slogdet.default",
        lambda x, w: x * torch.linalg.slogdet(w)[0],
        SIX + L(2),
        w=(2, 2),
    ),
    case("aten.linalg_det.default", lambda x, w: x * torch.linalg.det(w), SIX + L(2), w=(2, 2)),
    case(
        "aten.linalg_svdvals.default",
        lambda x, w: x[:, :, None] * torch.linalg.svdvals(w),
        SIX + L(3) + L(4),
        w=(3, 4),
    ),
    case("aten.matrix_exp.default", lambda x, w: x @ torch.matrix_exp(w / 4), SIX, w=(6, 6)),
    # A matrix of equal columns: that of its exponential differs from them on the diagonal.
    case(
        "aten.matrix_exp.default",
        lambda x, p: x @ torch.matrix_exp(p[:, None].expand(6, 6) / 4),
        SIX,
        p=(6,),
    ),
    case("aten.cov.default", lambda x, w: x @ torch.cov(w), SIX + L(5), w=(6, 5)),
    case("aten.cov.default", lambda x, p: x * torch.cov(p), SIX + L(5), p=(5,)),
    case(
        "aten.cov.default",
        lambda x, w, p: x @ torch.cov(w, aweights=p.abs()),
        SIX + L(5),
        w=(6, 5),
        p=(5,),
    ),
    case("aten.corrcoef.default", lambda x, w: x @ torch.corrcoef(w), SIX + L(5), w=(6, 5)),
    case("aten.pdist.default", lambda x, w: x[:, :, None] * torch.pdist(w), SIX + L(4), w=(3, 4)),
    case("aten.eye.default", lambda x, w: x @ (w + torch.eye(6)), SIX, w=(6, 6)),
    OperatorCase(
        "aten.eye.m",
        lambda x, w: x @ (w + torch.eye(6, 4)),
        L(4) + L(2),
        {"w": (6, 4)},
        found=0,
        missed="the first rows with all columns, and rows of zeros",
    ),
    case("aten.trace.default", lambda x, w: x * torch.trace(w), SIX + L(4), w=(4, 4)),
    case("aten.diagonal.default", lambda x, w: x * w.diagonal(), SIX, w=(6, 6)),
    case(
        "aten.diagonal.default",
        lambda x, w: x @ w.diagonal(0, 0, 2),
        L(6) + L(4),
        w=(4, 6, 4),
    ),
    case("aten.diag.default", lambda x, p: x @ torch.diag(p), SIX, p=(6,)),
    case("aten.diag.default", lambda x, w: x * torch.diag(w), SIX, w=(6, 6)),
    case("aten.diag.default", lambda x, p: x @ torch.diag(p, 1)[:6], 0, p=(6,)),
    case("aten.diag_embed.default", lambda x, p: x @ torch.diag_embed(p), SIX, p=(6,)),
]
