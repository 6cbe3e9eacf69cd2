"""Routes that write: repositories, branches and tags, commits, card validation."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from zooalign.testing import _card, _commits, _pulls
from zooalign.testing._http import Refusal, Request, Response, json_response
from zooalign.testing._model import Entry
from zooalign.testing._routing import Context, route

__all__ = ["ROUTES", "is_large"]

Parts = Mapping[str, str]

_LFS_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("bin", "ckpt", "ftz", "h5", "joblib", "mlmodel", "model", "msgpack", "npy", "npz"),
        *("onnx", "ot", "pb", "pickle", "pkl", "pt", "pth", "safetensors", "tflite"),
        *("7z", "arrow", "bz2", "gz", "parquet", "rar", "tar", "tgz", "xz", "zip", "zst"),
    )
)
_LFS_SIZE = 10 << 20


def _named(context: Context, request: Request) -> tuple[str, str, dict[str, Any]]:
    value = request.json()
    user = context.signed_in(request)
    namespace = value.get("organization") or user
    kind = f"{value.get('type') or 'model'}s"
    return kind, f"{namespace}/{value.get('name')}", value


def create_repo(context: Context, request: Request, parts: Parts) -> Response:
    """A new repository; 409 with the same body when there is one."""
    kind, repo_id, value = _named(context, request)
    namespace = repo_id.partition("/")[0]
    if not context.owns(request.user, namespace):
        what = (
            f'You don\'t have the rights to create a {kind[:-1]} under the namespace "{namespace}"'
        )
        raise Refusal(403, what)
    private = value.get("visibility") == "private" or value.get("private") is True
    prefix = "" if kind == "models" else f"{kind}/"
    answer = {"url": f"{context.endpoint}/{prefix}{repo_id}", "name": repo_id}
    try:
        context.store.create(kind, repo_id, private, context.signed_in(request))
    except Refusal as refusal:
        if refusal.status != 409:
            raise
        raise Refusal(409, refusal.message, content={"error": refusal.message} | answer) from None
    return json_response(answer)


def delete_repo(context: Context, request: Request, parts: Parts) -> Response:
    """Delete a repository."""
    kind, repo_id, _ = _named(context, request)
    context.store.delete(context.writable(request, kind, repo_id))
    return json_response({})


def settings(context: Context, request: Request, parts: Parts) -> Response:
    """Change visibility and gating."""
    repo = context.writable(request, parts["kind"], parts["repo"])
    value = request.json()
    with context.store.lock:
        if "visibility" in value or "private" in value:
            repo.private = value.get("visibility") == "private" or value.get("private") is True
        if "gated" in value:
            repo.gated = bool(value["gated"])
        context.store.save(repo)
    return json_response({"private": repo.private, "gated": repo.gated})


def create_branch(context: Context, request: Request, parts: Parts) -> Response:
    """A branch from ``startingPoint`` (default: main)."""
    start = str(request.json().get("startingPoint") or "main")
    return _create_ref(context, request, parts, f"refs/heads/{parts['rev']}", start)


def create_tag(context: Context, request: Request, parts: Parts) -> Response:
    """A tag on a revision."""
    name = request.json().get("tag")
    if not isinstance(name, str) or not name:
        raise Refusal(400, '"tag" must be a name')
    return _create_ref(context, request, parts, f"refs/tags/{name}", parts["rev"])


def _create_ref(context: Context, request: Request, parts: Parts, ref: str, start: str) -> Response:
    repo = context.writable(request, parts["kind"], parts["repo"])
    if any(part in ("", ".", "..") or part.endswith(".lock") for part in ref.split("/")):
        raise Refusal(400, f"not a reference name: {ref}")
    with context.store.lock:
        commit = repo.commit(start)
        if ref in repo.refs:
            raise Refusal(409, f"Reference already exists: {ref}")
        context.store.advance(repo, ref, commit)
    return json_response({})


def delete_branch(context: Context, request: Request, parts: Parts) -> Response:
    """Delete a branch; main stays."""
    if parts["rev"] == "main":
        raise Refusal(403, "Cannot delete the default branch")
    return _delete_ref(context, request, parts, f"refs/heads/{parts['rev']}")


def delete_tag(context: Context, request: Request, parts: Parts) -> Response:
    """Delete a tag."""
    return _delete_ref(context, request, parts, f"refs/tags/{parts['rev']}")


def _delete_ref(context: Context, request: Request, parts: Parts, ref: str) -> Response:
    repo = context.writable(request, parts["kind"], parts["repo"])
    with context.store.lock:
        if repo.refs.pop(ref, None) is None:
            raise Refusal(404, f"Invalid rev id: {parts['rev']}", "RevisionNotFound")
        context.store.save(repo)
    return json_response({})


def preupload(context: Context, request: Request, parts: Parts) -> Response:
    """Which files go to LFS, and what the hub has under each name."""
    repo = context.writable(request, parts["kind"], parts["repo"], parts["rev"])
    existing = repo.commit(parts["rev"]).files
    answers = []
    for file in request.json().get("files") or ():
        path = str(file.get("path"))
        answer = {"path": path, "uploadMode": _mode(file), "shouldIgnore": False}
        if path in existing:
            answer["oid"] = existing[path].etag
        answers.append(answer)
    return json_response({"files": answers})


def _mode(file: Mapping[str, Any]) -> str:
    try:
        sample = base64.b64decode(file.get("sample") or "")
    except (binascii.Error, ValueError, TypeError):
        raise Refusal(400, "the sample of a file is not base64") from None
    large = is_large(str(file.get("path")), int(file.get("size") or 0), sample)
    return "lfs" if large else "regular"


def is_large(path: str, size: int, sample: bytes) -> bool:
    """Whether a file goes to LFS: by suffix, by size (10 MiB), or because it is binary."""
    suffix = PurePosixPath(path).suffix.lower()
    return size > 0 and (suffix in _LFS_SUFFIXES or size > _LFS_SIZE or b"\0" in sample)


def commit(context: Context, request: Request, parts: Parts) -> Response:
    """A commit on a branch or PR ref, or on a new pull request (``create_pr=1``)."""
    repo = context.writable(request, parts["kind"], parts["repo"], parts["rev"])
    user = context.signed_in(request)
    store = context.store

    def large(oid: str) -> Entry:
        if context.xet is not None and not store.blob(oid).is_file():
            context.xet.ingest(oid)
        return store.large(oid)

    change = _commits.parse(request.body.read(), store.regular, large)
    with store.lock:
        base = repo.commit(parts["rev"])
        answer: dict[str, Any] = {"success": True, "hookOutput": ""}
        parent = change.parent
        if request.flag("create_pr"):
            start = base.oid
            if parent is not None:  # the PR starts there, stale or not
                start, parent = repo.commit(parent).oid, None
            change.gone(repo.commits[start].files)  # refuse before the PR exists
            opened = _pulls.open_pull(store, repo, change.title, change.message, user, start)
            opened = _pulls.set_status(store, repo, opened, "open", user)
            ref = f"refs/pr/{opened.num}"
            answer["pullRequestUrl"] = f"{context.endpoint}{repo.url_path}/discussions/{opened.num}"
        else:
            ref = repo.ref_name(parts["rev"]) or ""
            if not ref.startswith(("refs/heads/", "refs/pr/")):
                raise Refusal(
                    400, f"{parts['rev']!r} is not a branch: nothing can be committed to it"
                )
        gone = change.gone(repo.commits[repo.refs[ref]].files)
        committed = store.commit(
            repo, ref, change.title, change.message, user, change.files, gone, parent
        )
        if ref.startswith("refs/pr/"):
            _pulls.add_commit(store, repo, int(ref.rpartition("/")[2]), committed)
    answer["commitOid"] = committed.oid
    answer["commitUrl"] = f"{context.endpoint}{repo.url_path}/commit/{committed.oid}"
    return json_response(answer)


def validate_yaml(context: Context, request: Request, parts: Parts) -> Response:
    """Check the YAML block of a README; 400 when there are errors."""
    errors, warnings = _card.validate(str(request.json().get("content") or ""))
    value = {
        "errors": [{"message": message} for message in errors],
        "warnings": [{"message": message} for message in warnings],
    }
    return json_response(value, 400 if errors else 200)


ROUTES = (
    route("POST", "/api/repos/create", create_repo),
    route("DELETE", "/api/repos/delete", delete_repo),
    route("PUT", "/api/{kind}/{repo}/settings", settings),
    route("POST", "/api/{kind}/{repo}/branch/{rev}", create_branch),
    route("DELETE", "/api/{kind}/{repo}/branch/{rev}", delete_branch),
    route("POST", "/api/{kind}/{repo}/tag/{rev}", create_tag),
    route("DELETE", "/api/{kind}/{repo}/tag/{rev}", delete_tag),
    route("POST", "/api/{kind}/{repo}/preupload/{rev}", preupload),
    route("POST", "/api/{kind}/{repo}/commit/{rev}", commit),
    route("POST", "/api/validate-yaml", validate_yaml),
)
