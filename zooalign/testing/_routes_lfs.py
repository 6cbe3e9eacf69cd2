"""Git LFS and Xet: where the bytes of large files go, and where they come from."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from zooalign.testing._http import Refusal, Request, Response, json_response
from zooalign.testing._model import Repo
from zooalign.testing._multipart import CDN_ROUTES as _MULTIPART_ROUTES
from zooalign.testing._multipart import upload_action
from zooalign.testing._routes_read import send_blob
from zooalign.testing._routing import Context, route

__all__ = ["CDN_ROUTES", "ROUTES"]

Parts = Mapping[str, str]
_XET_SECONDS = 24 * 3600


def batch(context: Context, request: Request, parts: Parts) -> Response:
    """Where to put each object; no ``actions`` for one the hub has."""
    context.repo(request, parts["kind"], parts["repo"])
    context.signed_in(request)
    value = request.json()
    if value.get("operation") != "upload" or value.get("hash_algo", "sha256") != "sha256":
        raise Refusal(422, "only uploads of sha256 objects")
    answers, in_parts = [], False
    for item in value.get("objects") or ():
        oid, size = str(item.get("oid")), item.get("size")
        answer: dict[str, Any] = {"oid": oid, "size": size}
        if not re.fullmatch("[0-9a-f]{64}", oid) or not isinstance(size, int) or size < 0:
            answer["error"] = {"code": 422, "message": "not a sha256 object id and a size"}
        elif not context.store.blob(oid).is_file():
            base = f"{context.endpoint}{request.path.removesuffix('/batch')}"
            answer["actions"] = {
                "upload": upload_action(context, oid, size),
                "verify": {"href": f"{base}/verify"},
            }
            in_parts |= "header" in answer["actions"]["upload"]
        answers.append(answer)
    return json_response(
        {"transfer": "multipart" if in_parts else "basic", "objects": answers},
        headers={"Content-Type": "application/vnd.git-lfs+json"},
    )


def verify(context: Context, request: Request, parts: Parts) -> Response:
    """Whether an object arrived with the right size."""
    context.repo(request, parts["kind"], parts["repo"])
    context.signed_in(request)
    value = request.json()
    entry = context.store.large(str(value.get("oid")))
    if entry.size != value.get("size"):
        raise Refusal(422, f"the object has {entry.size} bytes, not {value.get('size')}")
    return json_response({"message": "verified"})


def upload(context: Context, request: Request, parts: Parts) -> Response:
    """The bytes of an object (on the CDN port, allowed by the signature)."""
    context.check_signature("put", parts["oid"], request)
    context.store.put(request.body.copy_to, parts["oid"])
    return Response(200)


def download(context: Context, request: Request, parts: Parts) -> Response:
    """The bytes of an object (on the CDN port, allowed by the signature)."""
    context.check_signature("get", parts["oid"], request)
    if not context.store.blob(parts["oid"]).is_file():
        raise Refusal(404, "no such object")
    headers = {"ETag": f'"{parts["oid"]}"', "Accept-Ranges": "bytes"}
    return send_blob(context, request, parts["oid"], headers)


def xet_write_token(context: Context, request: Request, parts: Parts) -> Response:
    """A new, empty Xet storage folder to upload to."""
    revision = None if parts["rev"] == "None" else parts["rev"]
    repo = context.writable(request, parts["kind"], parts["repo"], revision)
    xet = context.xet
    if xet is None:
        raise Refusal(404, "this hub was started without Xet; set HF_HUB_DISABLE_XET=1")
    return _xet_answer(repo, xet.new_upload())


def xet_read_token(context: Context, request: Request, parts: Parts) -> Response:
    """A Xet storage folder with the Xet files of a revision."""
    repo = context.files_of(request, parts["kind"], parts["repo"])
    xet = context.xet
    if xet is None:
        raise Refusal(404, "this hub was started without Xet; set HF_HUB_DISABLE_XET=1")
    files = repo.commit(parts["rev"]).files.values()
    return _xet_answer(repo, xet.new_download(sorted({e.sha256 for e in files if e.lfs})))


def _xet_answer(repo: Repo, address: str) -> Response:
    expires, token = int(time.time()) + _XET_SECONDS, f"xet-{repo.kind}"
    headers = {
        "X-Xet-Cas-Url": address,
        "X-Xet-Access-Token": token,
        "X-Xet-Token-Expiration": str(expires),
    }
    value = {"accessToken": token, "exp": expires, "casUrl": address}
    return json_response(value, headers=headers)


ROUTES = (
    route("POST", "/{page}{repo}.git/info/lfs/objects/batch", batch),
    route("POST", "/{page}{repo}.git/info/lfs/objects/verify", verify),
    route("GET", "/api/{kind}/{repo}/xet-write-token/{rev}", xet_write_token),
    route("GET", "/api/{kind}/{repo}/xet-read-token/{rev}", xet_read_token),
)
CDN_ROUTES = (
    route("PUT", "/lfs/put/{oid}", upload),
    route("GET", "/lfs/get/{oid}", download),
    *_MULTIPART_ROUTES,
)
