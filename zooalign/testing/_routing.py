"""Routes, who may do what, and the context every route gets."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from zooalign.testing._http import Refusal, Request, Response
from zooalign.testing._model import Repo
from zooalign.testing._store import Store

if TYPE_CHECKING:
    from zooalign.testing._xet import XetStore

__all__ = ["Context", "Handler", "Route", "route"]

# A revision is one quoted segment (refs%2Fpr%2F1), or a reference written out.
_PARTS = {
    "kind": "models|datasets|spaces",
    "page": "(?:datasets/|spaces/)?",
    "repo": "[^/]+/[^/]+",
    "rev": "refs/[^/]+/[^/]+|[^/]+",
    "path": ".+",
    "num": "[0-9]+",
    "oid": "[0-9a-f]{64}",
    "name": "[^/]+",
}


@dataclass(frozen=True)
class Context:
    """What routes need to know of the hub they serve."""

    store: Store
    endpoint: str
    cdn: str
    user: str
    orgs: tuple[str, ...]
    secret: bytes
    page_size: int
    part_size: int | None
    xet: XetStore | None

    def sign(self, action: str, sha256: str) -> str:
        """An address on the CDN port that allows one action on one blob, as the Hub's do."""
        return f"{self.cdn}/lfs/{action}/{sha256}?sig={self._signature(action, sha256)}"

    def check_signature(self, action: str, sha256: str, request: Request) -> None:
        """Raise 403 unless the address was signed by :meth:`sign`."""
        if not hmac.compare_digest(request.arg("sig"), self._signature(action, sha256)):
            raise Refusal(403, "the signature of this address is wrong")

    def _signature(self, action: str, sha256: str) -> str:
        return hmac.new(self.secret, f"{action} {sha256}".encode(), hashlib.sha256).hexdigest()

    def owns(self, user: str | None, namespace: str) -> bool:
        """Whether the user may write in the namespace."""
        return user is not None and namespace in (user, *self.orgs)

    def repo(self, request: Request, kind: str, repo_id: str) -> Repo:
        """A repository that the user may read.

        Raises
        ------
        Refusal
            RepoNotFound, 401 for anonymous, else 404 (also for private repositories of others: the
            Hub does not tell the difference).
        """
        repo = self.store.find(kind, repo_id)
        if repo is None or (repo.private and not self.owns(request.user, repo.namespace)):
            if request.user is None:
                raise Refusal(401, "Invalid username or password.", "RepoNotFound")
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return repo

    def files_of(self, request: Request, kind: str, repo_id: str) -> Repo:
        """A repository whose files the user may read (a gated one shows only its description)."""
        repo = self.repo(request, kind, repo_id)
        if repo.gated and not self.owns(request.user, repo.namespace):
            status = 401 if request.user is None else 403
            raise Refusal(status, f"Access to {kind[:-1]} {repo_id} is restricted.", "GatedRepo")
        return repo

    def writable(
        self, request: Request, kind: str, repo_id: str, revision: str | None = None
    ) -> Repo:
        """A repository that the user may write to.

        Anybody with a token may write to a pull request: ``create_pr=1`` or ``refs/pr/N``.
        """
        repo = self.repo(request, kind, repo_id)
        self.signed_in(request)
        for_pr = request.flag("create_pr") or (revision or "").startswith("refs/pr/")
        if not for_pr and not self.owns(request.user, repo.namespace):
            raise Refusal(403, f"You don't have write access to {repo_id}; open a pull request")
        return repo

    def signed_in(self, request: Request) -> str:
        """The user.

        Raises
        ------
        Refusal
            401 for anonymous.
        """
        if request.user is None:
            raise Refusal(401, "Invalid username or password.")
        return request.user


Handler = Callable[[Context, Request, Mapping[str, str]], Response]


@dataclass(frozen=True)
class Route:
    """A method, a pattern of the encoded path, and the function that answers."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The decoded parts of the path, or None; HEAD is answered by GET routes."""
        if self.method != ("GET" if method == "HEAD" else method):
            return None
        matched = self.pattern.fullmatch(path)
        if matched is None:
            return None
        parts = {name: unquote(value or "") for name, value in matched.groupdict().items()}
        if "page" in parts:
            parts["kind"] = parts["page"].rstrip("/") or "models"
        return parts


def route(method: str, template: str, handler: Handler) -> Route:
    """A route from a template such as ``/api/{kind}/{repo}/tree/{rev}``."""
    pattern = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    for name, part in _PARTS.items():
        pattern = pattern.replace(f"{{{name}}}", f"(?P<{name}>{part})")
    return Route(method, re.compile(pattern), handler)
