"""A model hub on the loopback interface, for tests.

The unmodified ``huggingface_hub`` client, timm's ``hf-hub:`` loader and transformers talk to it
over real HTTP. See ``docs/testing.md``.
"""

from __future__ import annotations

import hmac
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from zooalign.testing import _routes_lfs, _routes_pulls, _routes_read, _routes_write
from zooalign.testing._faults import Fault, Faults
from zooalign.testing._http import Refusal
from zooalign.testing._model import MAIN, Entry, Repo, safe_path
from zooalign.testing._routes_write import is_large
from zooalign.testing._routing import Context
from zooalign.testing._server import LoggedRequest, Server
from zooalign.testing._store import Store
from zooalign.testing._xet import XetStore

__all__ = ["LoopbackHub"]

_ROUTES = (
    *_routes_read.ROUTES,
    *_routes_write.ROUTES,
    *_routes_lfs.ROUTES,
    *_routes_pulls.ROUTES,
)


class LoopbackHub:
    """A hub of one user, on 127.0.0.1; a second port plays the content delivery network.

    Parameters
    ----------
    root:
        Folder for repositories and blobs, kept when the hub stops and read when another starts on
        it; None: a temporary one, deleted at the end.
    token:
        The one token that is accepted; None: a random one.
    user:
        Name the token belongs to.
    orgs:
        Organisations the user may write in. Elsewhere the user may open pull requests.
    port:
        Port of the hub; 0: a free one. (The CDN's is always free.)
    xet:
        Whether to serve Xet routes; see :meth:`env`.
    page_size:
        Entries in one page of a listing (the Hub has 1000).
    part_size:
        LFS files of more bytes are uploaded in parts of this size (multipart LFS); None: always in
        one piece.

    Example:
        >>> from huggingface_hub import HfApi
        >>> with LoopbackHub() as hub:
        ...     commit = hub.add_repo("tester/model", {"config.json": b"{}"})
        ...     api = HfApi(endpoint=hub.endpoint, token=hub.token)
        ...     api.model_info("tester/model").sha == commit
        True
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        token: str | None = None,
        user: str = "tester",
        orgs: Iterable[str] = (),
        port: int = 0,
        xet: bool = True,
        page_size: int = 1000,
        part_size: int | None = None,
    ) -> None:
        self.token = token or f"hf_loopback_{secrets.token_hex(8)}"
        self.user = user
        self.xet = xet
        self._temp = Path(tempfile.mkdtemp(prefix="loopback-hub-"))
        self._store = Store(Path(root) if root is not None else self._temp / "hub")
        self._faults = Faults()
        self._log: list[LoggedRequest] = []
        self._log_lock = threading.Lock()
        common = (self._faults, self._record, self._user_of)
        self._hub = Server("hub", port, *common)
        self._cdn = Server("cdn", 0, *common)
        self._context = Context(
            store=self._store,
            endpoint=f"http://127.0.0.1:{self._hub.port}",
            cdn=f"http://127.0.0.1:{self._cdn.port}",
            user=user,
            orgs=tuple(orgs),
            secret=secrets.token_bytes(32),
            page_size=page_size,
            part_size=part_size,
            xet=XetStore(self._store) if xet else None,
        )
        self._running = False

    # life

    def start(self) -> LoopbackHub:
        """Begin to serve; a stopped hub cannot be started again."""
        if not self._running:
            self._cdn.start(self._context, _routes_lfs.CDN_ROUTES)
            self._hub.start(self._context, _ROUTES)
            self._running = True
        return self

    def stop(self) -> None:
        """Stop serving, close every connection and delete temporary folders."""
        self._running = False
        self._hub.stop()
        self._cdn.stop()
        shutil.rmtree(self._temp, ignore_errors=True)

    def __enter__(self) -> LoopbackHub:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # for clients

    @property
    def endpoint(self) -> str:
        """Address of the hub, ``http://127.0.0.1:PORT``: the value for ``HF_ENDPOINT``."""
        return self._context.endpoint

    def env(
        self,
        *,
        token: str | None = None,
        home: Path | str | None = None,
        xet: bool | None = None,
    ) -> dict[str, str]:
        """Environment variables for a process whose client shall talk to this hub only.

        They must be set before ``huggingface_hub`` is imported: use them for a subprocess,
        ``env=os.environ | hub.env()``.

        Parameters
        ----------
        token:
            The token to use; None: the right one; ``""``: anonymous.
        home:
            Folder for the client's cache (``HF_HOME``); None: one that belongs to the hub and is
            deleted with it. Give a new folder for a cold cache.
        xet:
            Whether large files travel by Xet (if ``hf_xet`` is installed) or by LFS; None: as the
            hub was created.
        """
        base = Path(home) if home is not None else self._temp / "home"
        use_xet = self.xet if xet is None else xet and self.xet
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": self.token if token is None else token,
            "HUGGING_FACE_HUB_TOKEN": "",
            "HF_HOME": str(base),
            "HF_HUB_CACHE": str(base / "hub"),
            "HF_ASSETS_CACHE": str(base / "assets"),
            "HF_XET_CACHE": str(base / "xet"),
            "HF_TOKEN_PATH": str(base / "token"),
            "HF_STORED_TOKENS_PATH": str(base / "stored_tokens"),
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "0" if use_xet else "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    # for tests

    def add_repo(
        self,
        repo_id: str,
        files: Mapping[str, bytes | str | Path],
        *,
        kind: str = "model",
        private: bool = False,
        gated: bool = False,
        title: str = "Add files",
    ) -> str:
        """Put files on ``main`` of a repository, of anybody's, and make it if need be.

        Parameters
        ----------
        repo_id:
            ``namespace/name``.
        files:
            Path in the repository to content: bytes, text, or a file on disk.
        kind:
            ``"model"``, ``"dataset"`` or ``"space"``.
        private:
            Only for a new repository: hidden from all but its owner.
        gated:
            Only for a new repository: files refused to all but its owner.
        title:
            Title of the commit.

        Returns
        -------
        The commit's id.

        Raises
        ------
        HubError
            For an impossible repository name or path.
        """
        store, plural = self._store, f"{kind}s"
        namespace = repo_id.partition("/")[0]
        entries = {safe_path(path): self._entry(path, value) for path, value in files.items()}
        with store.lock:
            repo = store.find(plural, repo_id)
            if repo is None:
                repo = store.create(plural, repo_id, private, namespace)
                repo.gated = gated
            return store.commit(repo, MAIN, title, "", namespace, entries).oid

    def _entry(self, path: str, value: bytes | str | Path) -> Entry:
        data = value.read_bytes() if isinstance(value, Path) else value
        data = data.encode() if isinstance(data, str) else data
        entry = self._store.regular(data)
        return self._store.large(entry.sha256) if is_large(path, len(data), data[:512]) else entry

    def read(
        self, repo_id: str, path: str, revision: str = "main", *, kind: str = "model"
    ) -> bytes:
        """Content of a file, straight from the store.

        Raises
        ------
        HubError
            When the repository, revision or file does not exist.
        """
        _, entry = self._repo(kind, repo_id).entry(revision, path)
        return self._store.blob(entry.sha256).read_bytes()

    def files(self, repo_id: str, revision: str = "main", *, kind: str = "model") -> list[str]:
        """Paths of the files at a revision, straight from the store.

        Raises
        ------
        HubError
            When the repository or revision does not exist.
        """
        return list(self._repo(kind, repo_id).commit(revision).files)

    def inject(self, *faults: Fault) -> None:
        """Let requests fail as described; see :class:`~zooalign.testing.Fault`."""
        self._faults.add(*faults)

    def clear_faults(self) -> None:
        """Forget the faults that have not struck."""
        self._faults.clear()

    @property
    def pending_faults(self) -> tuple[Fault, ...]:
        """The faults that have not struck as often as asked."""
        return self._faults.pending()

    @property
    def requests(self) -> tuple[LoggedRequest, ...]:
        """All requests so far, in the order of their answers, on both ports."""
        with self._log_lock:
            return tuple(self._log)

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        with self._log_lock:
            self._log.clear()

    def _repo(self, kind: str, repo_id: str) -> Repo:
        repo = self._store.find(f"{kind}s", repo_id)
        if repo is None:
            raise Refusal(404, f"there is no {kind} {repo_id} on this hub", "RepoNotFound")
        return repo

    def _record(self, request: LoggedRequest) -> None:
        if self.token in request.path:
            hidden = request.path.replace(self.token, "***")
            request = LoggedRequest(
                request.method, hidden, request.status, request.port, request.authorized
            )
        with self._log_lock:
            self._log.append(request)

    def _user_of(self, authorization: str | None) -> str | None:
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        good = hmac.compare_digest(token.strip().encode(), self.token.encode())
        if scheme.lower() != "bearer" or not good:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.user
