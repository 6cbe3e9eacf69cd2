"""Git LFS objects in parts: each part has an address of its own, then the parts are put together.

As the Hub does for files above some size: the batch answer's ``upload.header`` holds
``chunk_size`` and one address a part, and ``upload.href`` is where to complete the object.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zooalign.testing._http import Refusal, Request, Response, json_response
from zooalign.testing._routing import Context, route

__all__ = ["CDN_ROUTES", "upload_action"]

Parts = Mapping[str, str]


def upload_action(context: Context, oid: str, size: int) -> dict[str, Any]:
    """What a batch answer says of an object's upload: one address, or one for each part."""
    step = context.part_size
    if step is None or size <= step:
        return {"href": context.sign("put", oid)}
    header = {"chunk_size": str(step)}
    for number in range(1, -(-size // step) + 1):
        header[str(number)] = context.sign(f"part/{number}", oid)
    return {"href": context.sign("complete", oid), "header": header}


def put_part(context: Context, request: Request, parts: Parts) -> Response:
    """The bytes of one part; its ETag has to be named when the object is completed."""
    oid, number = parts["oid"], parts["num"]
    context.check_signature(f"part/{number}", oid, request)
    path = _folder(context, oid) / f"{int(number):06d}"
    path.parent.mkdir(exist_ok=True)
    aside = path.with_suffix(".tmp")
    with aside.open("wb") as file:
        request.body.copy_to(file)
    aside.replace(path)
    return Response(200, {"ETag": f'"{_etag(path)}"'})


def complete(context: Context, request: Request, parts: Parts) -> Response:
    """Put the parts together, as many and in the order that the client names them."""
    oid = parts["oid"]
    context.check_signature("complete", oid, request)
    value = request.json()
    named = value.get("parts")
    if value.get("oid") != oid or not isinstance(named, list) or not named:
        raise Refusal(400, "the completion names another object, or no parts")
    folder = _folder(context, oid)
    paths = [folder / f"{number:06d}" for number in range(1, len(named) + 1)]
    for number, (path, part) in enumerate(zip(paths, named, strict=True), 1):
        if not isinstance(part, dict) or part.get("partNumber") != number or not path.is_file():
            raise Refusal(400, f"part {number} did not arrive or is not named in its turn")
        if part.get("etag") != f'"{_etag(path)}"':
            raise Refusal(400, f"part {number} has another ETag")

    def write(target: Any) -> None:
        for path in paths:
            with path.open("rb") as file:
                shutil.copyfileobj(file, target)

    context.store.put(write, oid)
    shutil.rmtree(folder, ignore_errors=True)
    return json_response({"success": True})


def _folder(context: Context, oid: str) -> Path:
    return context.store.temp / f"parts-{oid}"


def _etag(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


CDN_ROUTES = (
    route("PUT", "/lfs/part/{num}/{oid}", put_part),
    route("POST", "/lfs/complete/{oid}", complete),
)
