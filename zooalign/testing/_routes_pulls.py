"""Routes of discussions and pull requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zooalign.testing import _pulls
from zooalign.testing._http import Refusal, Request, Response, json_response
from zooalign.testing._model import MAIN, Discussion, Repo
from zooalign.testing._routing import Context, route

__all__ = ["ROUTES"]

Parts = Mapping[str, str]
_PAGE = 25


def _summary(repo: Repo, item: Discussion) -> dict[str, Any]:
    return {
        "num": item.num,
        "title": item.title,
        "author": {"name": item.author},
        "createdAt": item.created,
        "status": item.status,
        "isPullRequest": item.is_pull_request,
        "pinned": False,
        "numComments": sum(event["type"] == "comment" for event in item.events),
        "repo": {"name": repo.id, "type": repo.kind[:-1]},
        "repoOwner": {"name": repo.namespace},
    }


def list_discussions(context: Context, request: Request, parts: Parts) -> Response:
    """Discussions, newest first, filtered by ``type``, ``status`` and ``author``."""
    repo = context.repo(request, parts["kind"], parts["repo"])
    kind, status, author = (request.arg(name) for name in ("type", "status", "author"))
    with context.store.lock:
        newest_first = sorted(repo.discussions.values(), key=lambda item: -item.num)
    matching = [
        item
        for item in newest_first
        if kind in ("", "all", "pull_request" if item.is_pull_request else "discussion")
        and status in ("", "all", "open" if item.status in ("open", "draft") else "closed")
        and author in ("", item.author)
    ]
    raw = request.arg("p", "0")
    first = _PAGE * (int(raw) if raw.isdecimal() else 0)
    shown = [_summary(repo, item) for item in matching[first : first + _PAGE]]
    return json_response({"count": len(matching), "start": first, "discussions": shown})


def create(context: Context, request: Request, parts: Parts) -> Response:
    """A new discussion, or a pull request as a draft."""
    repo = context.repo(request, parts["kind"], parts["repo"])
    user = context.signed_in(request)
    value = request.json()
    started = _pulls.start(
        context.store,
        repo,
        str(value.get("title") or ""),
        str(value.get("description") or ""),
        user,
        pull_request=bool(value.get("pullRequest")),
    )
    return json_response(_summary(repo, started) | {"pullRequest": started.is_pull_request})


def details(context: Context, request: Request, parts: Parts) -> Response:
    """A discussion with its events; a pull request with conflicts and, if asked for, diff."""
    repo = context.repo(request, parts["kind"], parts["repo"])
    with context.store.lock:
        item = _pulls.find(repo, int(parts["num"]))
        value = _summary(repo, item) | {"events": list(item.events)}
        if item.is_pull_request:
            value["changes"] = {"base": MAIN}
            value["filesWithConflicts"] = []
            if item.merge_commit is not None:
                value["changes"]["mergeCommitId"] = item.merge_commit
            else:
                value["filesWithConflicts"] = _pulls.conflicts(repo, item.num)
            if request.flag("diff"):
                value["diff"] = _pulls.diff(context.store, repo, item.num)
    return json_response(value)


def _mine(context: Context, request: Request, parts: Parts) -> tuple[Repo, int, str]:
    """For its author and those who may write to the repository."""
    repo = context.repo(request, parts["kind"], parts["repo"])
    user, num = context.signed_in(request), int(parts["num"])
    if _pulls.find(repo, num).author != user and not context.owns(user, repo.namespace):
        raise Refusal(403, "this discussion belongs to somebody else")
    return repo, num, user


def comment(context: Context, request: Request, parts: Parts) -> Response:
    """Add a comment."""
    repo = context.repo(request, parts["kind"], parts["repo"])
    user = context.signed_in(request)
    text = request.json().get("comment")
    if not isinstance(text, str) or not text:
        raise Refusal(400, "an empty comment")
    item = _pulls.comment(context.store, repo, int(parts["num"]), text, user)
    return json_response({"newMessage": item.events[-1]})


def title(context: Context, request: Request, parts: Parts) -> Response:
    """Change the title."""
    repo, num, user = _mine(context, request, parts)
    item = _pulls.set_title(context.store, repo, num, str(request.json().get("title")), user)
    return json_response({"newTitle": item.events[-1]})


def status(context: Context, request: Request, parts: Parts) -> Response:
    """Open or close, with an optional comment."""
    repo, num, user = _mine(context, request, parts)
    value = request.json()
    with context.store.lock:
        if value.get("comment"):
            _pulls.comment(context.store, repo, num, str(value["comment"]), user)
        item = _pulls.find(repo, num)
        item = _pulls.set_status(context.store, repo, item, str(value.get("status")), user)
    return json_response({"newStatus": item.events[-1]})


def merge(context: Context, request: Request, parts: Parts) -> Response:
    """Merge into main."""
    repo = context.writable(request, parts["kind"], parts["repo"])
    user = context.signed_in(request)
    value = request.json()
    with context.store.lock:
        item = _pulls.merge(context.store, repo, int(parts["num"]), user)
        if value.get("comment"):
            _pulls.comment(context.store, repo, item.num, str(value["comment"]), user)
    return json_response({"mergeCommitId": item.merge_commit})


ROUTES = (
    route("GET", "/api/{kind}/{repo}/discussions", list_discussions),
    route("POST", "/api/{kind}/{repo}/discussions", create),
    route("GET", "/api/{kind}/{repo}/discussions/{num}", details),
    route("POST", "/api/{kind}/{repo}/discussions/{num}/comment", comment),
    route("POST", "/api/{kind}/{repo}/discussions/{num}/title", title),
    route("POST", "/api/{kind}/{repo}/discussions/{num}/status", status),
    route("POST", "/api/{kind}/{repo}/discussions/{num}/merge", merge),
)
