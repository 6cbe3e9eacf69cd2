"""Routes that read: identity, descriptions, trees, references, files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote

from zooalign.testing import _card
from zooalign.testing._http import (
    FileSlice,
    Refusal,
    Request,
    Response,
    byte_range,
    json_response,
    page,
)
from zooalign.testing._model import Commit, Entry, Repo, pointer
from zooalign.testing._routing import Context, route

__all__ = ["ROUTES"]

Parts = Mapping[str, str]


def whoami(context: Context, request: Request, parts: Parts) -> Response:
    """Who the token belongs to."""
    if request.user is None:
        raise Refusal(401, "Invalid username or password.")
    token = {"displayName": "loopback", "role": "write"}
    return json_response(
        {
            "type": "user",
            "id": "0" * 24,
            "name": request.user,
            "fullname": request.user,
            "isPro": False,
            "orgs": [{"type": "org", "name": name, "fullname": name} for name in context.orgs],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def list_repos(context: Context, request: Request, parts: Parts) -> Response:
    """Repositories, filtered by ``author``, ``search`` and ``filter`` (tags)."""
    author, search = request.arg("author"), request.arg("search").lower()
    tags = set(request.query.get("filter", ()))
    listed = []
    for repo in context.store.repos(parts["kind"]):
        visible = not repo.private or context.owns(request.user, repo.namespace)
        if not visible or (author and repo.namespace != author) or search not in repo.id.lower():
            continue
        value = _describe(context, repo, repo.commit("main"), blobs=False)
        if tags <= set(value["tags"]):
            listed.append(value)
    return page(request, context.endpoint, listed, context.page_size)


def repo_info(context: Context, request: Request, parts: Parts) -> Response:
    """Description of a repository at a revision."""
    repo = context.repo(request, parts["kind"], parts["repo"])
    commit = repo.commit(parts.get("rev") or "main")
    return json_response(_describe(context, repo, commit, blobs=request.flag("blobs")))


def auth_check(context: Context, request: Request, parts: Parts) -> Response:
    """Whether the user may read the files."""
    context.files_of(request, parts["kind"], parts["repo"])
    return json_response({})


def auth_check_write(context: Context, request: Request, parts: Parts) -> Response:
    """Whether the user may write."""
    context.writable(request, parts["kind"], parts["repo"])
    return json_response({})


def _describe(context: Context, repo: Repo, commit: Commit, *, blobs: bool) -> dict[str, Any]:
    card: dict[str, Any] = {}
    if readme := commit.files.get("README.md"):
        text = context.store.blob(readme.sha256).read_text(encoding="utf-8", errors="replace")
        card = _card.metadata(text)
    tags = card.get("tags")
    siblings = []
    for path, entry in commit.files.items():
        sibling: dict[str, Any] = {"rfilename": path}
        if blobs:
            sibling |= {"size": entry.size, "blobId": entry.oid}
            if entry.lfs:
                sibling["lfs"] = {"sha256": entry.sha256} | _lfs_sizes(entry)
        siblings.append(sibling)
    value = {
        "_id": commit.oid[:24],
        "id": repo.id,
        "author": repo.namespace,
        "sha": commit.oid,
        "private": repo.private,
        "gated": "manual" if repo.gated else False,
        "disabled": False,
        "createdAt": repo.created,
        "lastModified": commit.date,
        "downloads": 0,
        "likes": 0,
        "tags": [str(tag) for tag in tags] if isinstance(tags, list) else [],
        "siblings": siblings,
        "cardData": card,
    }
    if repo.kind == "models":
        value["modelId"] = repo.id
        value |= {key: card[key] for key in ("library_name", "pipeline_tag") if key in card}
    return value


def _lfs_sizes(entry: Entry) -> dict[str, int]:
    return {"size": entry.size, "pointerSize": len(pointer(entry.sha256, entry.size))}


def tree(context: Context, request: Request, parts: Parts) -> Response:
    """Files and folders under a path, page by page."""
    repo = context.files_of(request, parts["kind"], parts["repo"])
    commit = repo.commit(parts["rev"])
    base = parts.get("path", "").strip("/")
    prefix = f"{base}/" if base else ""
    items: dict[str, dict[str, Any]] = {}
    for path in commit.files:
        if not path.startswith(prefix):
            continue
        names = path[len(prefix) :].split("/")
        for depth in range(1, len(names)):
            folder = prefix + "/".join(names[:depth])
            if request.flag("recursive") or depth == 1:
                items.setdefault(folder, _folder(folder))
        if request.flag("recursive") or len(names) == 1:
            items[path] = _file(context, repo, commit, path, expand=request.flag("expand"))
    if base and not items:
        message = f"{base} does not exist on {parts['rev']!r}"
        raise Refusal(404, message, "EntryNotFound", {"X-Repo-Commit": commit.oid})
    return page(request, context.endpoint, list(items.values()), context.page_size)


def paths_info(context: Context, request: Request, parts: Parts) -> Response:
    """Files and folders by name; names that do not exist are left out."""
    repo = context.files_of(request, parts["kind"], parts["repo"])
    commit = repo.commit(parts["rev"])
    form = parse_qs(request.body.read().decode("utf-8", errors="replace"))
    expand = form.get("expand", ["false"])[0].lower() == "true"
    items = []
    for path in form.get("paths", []):
        if path in commit.files:
            items.append(_file(context, repo, commit, path, expand=expand))
        elif any(name.startswith(f"{path}/") for name in commit.files):
            items.append(_folder(path))
    return json_response(items)


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}


def _file(
    context: Context, repo: Repo, commit: Commit, path: str, *, expand: bool
) -> dict[str, Any]:
    entry = commit.files[path]
    value: dict[str, Any] = {"type": "file", "path": path, "size": entry.size, "oid": entry.oid}
    if entry.lfs:
        value["lfs"] = {"oid": entry.sha256} | _lfs_sizes(entry)
        if context.xet is not None and (xet_hash := context.xet.hash_of(entry.sha256)):
            value["xetHash"] = xet_hash
    if expand:
        last = commit
        for older in repo.history(commit.parent):
            if older.files.get(path) != entry:
                break
            last = older
        value["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return value


def refs(context: Context, request: Request, parts: Parts) -> Response:
    """Branches, tags and, when asked for, pull requests."""
    repo = context.repo(request, parts["kind"], parts["repo"])

    with context.store.lock:
        known = sorted(repo.refs.items())

    def under(prefix: str) -> list[dict[str, str]]:
        return [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid}
            for ref, oid in known
            if ref.startswith(prefix)
        ]

    value: dict[str, Any] = {
        "branches": under("refs/heads/"),
        "tags": under("refs/tags/"),
        "converts": [],
    }
    if request.flag("include_prs"):
        value["pullRequests"] = [ref | {"name": ref["ref"]} for ref in under("refs/pr/")]
    return json_response(value)


def commits(context: Context, request: Request, parts: Parts) -> Response:
    """History of a revision, newest first."""
    repo = context.repo(request, parts["kind"], parts["repo"])
    items = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "date": commit.date,
            "authors": [{"user": commit.author}],
        }
        for commit in repo.history(repo.commit(parts["rev"]).oid)
    ]
    return page(request, context.endpoint, items, context.page_size)


def resolve(context: Context, request: Request, parts: Parts) -> Response:
    """A file: regular ones directly, LFS ones by redirect to the CDN port."""
    repo = context.files_of(request, parts["kind"], parts["repo"])
    commit, entry = repo.entry(parts["rev"], parts["path"])
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if not entry.lfs:
        headers["ETag"] = f'"{entry.etag}"'
        return send_blob(context, request, entry.sha256, headers)
    headers["X-Linked-Etag"] = f'"{entry.etag}"'
    headers["X-Linked-Size"] = str(entry.size)
    if context.xet is not None and (xet_hash := context.xet.hash_of(entry.sha256)):
        token = f"{context.endpoint}/api/{repo.kind}/{quote(repo.id)}/xet-read-token/{commit.oid}"
        headers["X-Xet-Hash"] = xet_hash
        headers["Link"] = f'<{token}>; rel="xet-auth"'
    headers["Location"] = context.sign("get", entry.sha256)
    return Response(302, headers, b"Found. Redirecting")


def send_blob(
    context: Context, request: Request, sha256: str, headers: Mapping[str, str]
) -> Response:
    """A blob or the range of it that was asked for."""
    path = context.store.blob(sha256)
    size = path.stat().st_size
    extra = {"Content-Type": "application/octet-stream"} | dict(headers)
    requested = byte_range(request.headers.get("Range"), size)
    if requested is None:
        return Response(200, extra, FileSlice(path, 0, size))
    start, count = requested
    extra["Content-Range"] = f"bytes {start}-{start + count - 1}/{size}"
    return Response(206, extra, FileSlice(path, start, count))


ROUTES = (
    route("GET", "/api/whoami-v2", whoami),
    route("GET", "/api/{kind}", list_repos),
    route("GET", "/api/{kind}/{repo}", repo_info),
    route("GET", "/api/{kind}/{repo}/revision/{rev}", repo_info),
    route("GET", "/api/{kind}/{repo}/auth-check", auth_check),
    route("GET", "/api/{kind}/{repo}/auth-check/write", auth_check_write),
    route("GET", "/api/{kind}/{repo}/tree/{rev}", tree),
    route("GET", "/api/{kind}/{repo}/tree/{rev}/{path}", tree),
    route("POST", "/api/{kind}/{repo}/paths-info/{rev}", paths_info),
    route("GET", "/api/{kind}/{repo}/refs", refs),
    route("GET", "/api/{kind}/{repo}/commits/{rev}", commits),
    route("GET", "/{page}{repo}/resolve/{rev}/{path}", resolve),
)
