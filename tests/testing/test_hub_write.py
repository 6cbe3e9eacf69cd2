"""Writing to the loopback hub with huggingface_hub's own client."""

from __future__ import annotations

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RepositoryNotFoundError

from zooalign.testing import LoopbackHub

WEIGHTS = bytes(range(256)) * 64
CARD = "---\nlicense: mit\n---\n# A model\n"


@pytest.fixture
def repo(api: HfApi) -> str:
    return api.create_repo("tester/m").repo_id


def status(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return error.value.response.status_code


def test_create_and_delete(hub, api) -> None:
    url = api.create_repo("m", private=True)
    assert (url.repo_id, url.repo_type) == ("tester/m", "model")
    assert api.model_info("tester/m").private
    assert api.create_repo("tester/m", exist_ok=True).repo_id == "tester/m"
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo("tester/m")
    assert status(caught) == 409
    api.update_repo_settings("tester/m", private=False)
    assert not api.model_info("tester/m").private
    api.delete_repo("tester/m")
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("tester/m")


def test_rights() -> None:
    with LoopbackHub(orgs=["acme"]) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        assert api.create_repo("acme/m").repo_id == "acme/m"
        with pytest.raises(HfHubHTTPError) as caught:
            api.create_repo("other/m")
        assert status(caught) == 403
        with pytest.raises(HfHubHTTPError) as caught:
            HfApi(endpoint=hub.endpoint, token=False).create_repo("tester/m")
        assert status(caught) == 401
        hub.add_repo("other/m", {"a.txt": b"a"})
        file = {"path_or_fileobj": b"b", "path_in_repo": "a.txt", "repo_id": "other/m"}
        with pytest.raises(HfHubHTTPError) as caught:
            api.upload_file(**file)
        assert status(caught) == 403
        opened = api.upload_file(**file, create_pr=True)
        assert opened.pr_num == 1
        with pytest.raises(HfHubHTTPError) as caught:
            api.merge_pull_request("other/m", 1)
        assert status(caught) == 403
        assert hub.read("other/m", "a.txt") == b"a"


def test_upload_regular_and_lfs(hub, api, repo, tmp_path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "w.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "empty.bin").write_bytes(b"")
    made = api.upload_folder(repo_id=repo, folder_path=tmp_path)
    assert api.model_info(repo).sha == made.oid
    assert hub.read(repo, "w.safetensors") == WEIGHTS and hub.read(repo, "empty.bin") == b""
    assert any(r.port == "cdn" and r.method == "PUT" for r in hub.requests)
    hub.clear_requests()
    again = api.upload_folder(repo_id=repo, folder_path=tmp_path)
    assert again.oid == made.oid  # nothing changed: the client makes no commit
    assert not any("/commit/" in r.path for r in hub.requests)


def test_commit_add_and_delete(hub, api, repo) -> None:
    add = [CommitOperationAdd(name, b"x") for name in ("a.txt", "d/b.txt", "d/c.txt")]
    first = api.create_commit(repo, add, commit_message="Add", commit_description="Three")
    gone = [CommitOperationDelete("a.txt"), CommitOperationDelete("d/", is_folder=True)]
    api.create_commit(repo, gone, commit_message="Delete")
    assert hub.files(repo) == [".gitattributes"]
    assert hub.files(repo, first.oid) == [".gitattributes", "a.txt", "d/b.txt", "d/c.txt"]
    assert api.list_repo_commits(repo)[1].message == "Three"
    with pytest.raises(HfHubHTTPError) as caught:
        api.delete_file("a.txt", repo)
    assert status(caught) == 404


def test_copy_of_an_lfs_file(hub, api, repo) -> None:
    from huggingface_hub import CommitOperationCopy

    api.upload_file(path_or_fileobj=WEIGHTS, path_in_repo="a.bin", repo_id=repo)
    copy = [CommitOperationCopy("a.bin", "b.bin")]
    api.create_commit(repo, copy, commit_message="Copy")
    assert hub.read(repo, "b.bin") == WEIGHTS


def test_stale_parent(hub, api, repo) -> None:
    base = api.model_info(repo).sha
    first = [CommitOperationAdd("a.txt", b"1")]
    api.create_commit(repo, first, commit_message="One", parent_commit=base)
    second = [CommitOperationAdd("a.txt", b"2")]
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_commit(repo, second, commit_message="Two", parent_commit=base)
    assert status(caught) == 412
    assert api.list_repo_commits(repo)[0].title == "One"


def test_hostile_path_in_a_commit(hub, api, repo) -> None:
    operation = CommitOperationAdd("a.txt", b"1")
    operation.path_in_repo = "../../outside.txt"
    with pytest.raises(BadRequestError, match="not a path"):
        api.create_commit(repo, [operation], commit_message="Out")


def test_branches_and_tags(hub, api, repo) -> None:
    base = api.model_info(repo).sha
    api.create_branch(repo, branch="dev")
    made = api.upload_file(path_or_fileobj=b"x", path_in_repo="a.txt", repo_id=repo, revision="dev")
    assert api.model_info(repo).sha == base and api.model_info(repo, revision="dev").sha == made.oid
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_branch(repo, branch="dev")
    assert status(caught) == 409
    api.create_branch(repo, branch="dev", exist_ok=True)
    api.create_tag(repo, tag="v1", revision="dev")
    assert hub.read(repo, "a.txt", "v1") == b"x"
    with pytest.raises(BadRequestError, match="not a branch"):
        api.upload_file(path_or_fileobj=b"y", path_in_repo="a", repo_id=repo, revision="v1")
    api.delete_tag(repo, tag="v1")
    api.delete_branch(repo, branch="dev")
    refs = api.list_repo_refs(repo)
    assert [b.name for b in refs.branches] == ["main"] and refs.tags == []


def test_pull_request_by_commit(hub, api, repo) -> None:
    opened = api.upload_file(
        path_or_fileobj=WEIGHTS, path_in_repo="w.bin", repo_id=repo, create_pr=True
    )
    assert opened.pr_revision == "refs/pr/1"
    assert hub.files(repo) == [".gitattributes"]
    assert hub.read(repo, "w.bin", "refs/pr/1") == WEIGHTS
    assert api.get_discussion_details(repo, 1).status == "open"
    api.merge_pull_request(repo, 1, comment="Thanks")
    merged = api.get_discussion_details(repo, 1)
    assert (merged.status, merged.merge_commit_oid) == ("merged", api.model_info(repo).sha)
    assert [e.content for e in merged.events if e.type == "comment"][-1] == "Thanks"
    assert hub.read(repo, "w.bin") == WEIGHTS
    with pytest.raises(BadRequestError):
        api.merge_pull_request(repo, 1)


def test_pull_request_made_first(hub, api, repo) -> None:
    draft = api.create_pull_request(repo, title="A change", description="Why")
    assert (draft.status, draft.git_reference) == ("draft", "refs/pr/1")
    for text in (b"one\n", b"two\n"):
        api.upload_file(
            path_or_fileobj=text, path_in_repo="a.txt", repo_id=repo, revision="refs/pr/1"
        )
    with pytest.raises(BadRequestError, match="draft"):
        api.merge_pull_request(repo, 1)
    api.change_discussion_status(repo, 1, "open", comment="Ready")
    details = api.get_discussion_details(repo, 1)
    assert "+two" in details.diff and "one" not in details.diff
    assert sum(event.type == "commit" for event in details.events) == 2
    api.merge_pull_request(repo, 1)
    assert hub.read(repo, "a.txt") == b"two\n"
    assert api.list_repo_commits(repo)[0].title == "A change (#1)"


def test_merge_keeps_what_main_got_meanwhile(hub, api, repo) -> None:
    api.upload_file(path_or_fileobj=b"1", path_in_repo="pr.txt", repo_id=repo, create_pr=True)
    api.upload_file(path_or_fileobj=b"2", path_in_repo="main.txt", repo_id=repo)
    api.merge_pull_request(repo, 1)
    assert hub.files(repo) == [".gitattributes", "main.txt", "pr.txt"]


def test_conflict(hub, api, repo) -> None:
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=repo, create_pr=True)
    api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id=repo)
    assert api.get_discussion_details(repo, 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError) as caught:
        api.merge_pull_request(repo, 1)
    assert status(caught) == 409
    assert hub.read(repo, "a.txt") == b"2"


def test_discussions(hub, api, repo) -> None:
    api.create_discussion(repo, title="First")
    api.create_pull_request(repo, title="Second")
    assert api.comment_discussion(repo, 1, "A word").content == "A word"
    assert api.rename_discussion(repo, 1, "Renamed").new_title == "Renamed"
    assert api.change_discussion_status(repo, 1, "closed").new_status == "closed"
    listed = [(d.num, d.title, d.status) for d in api.get_repo_discussions(repo)]
    assert listed == [(2, "Second", "draft"), (1, "Renamed", "closed")]
    only = api.get_repo_discussions(repo, discussion_type="pull_request", discussion_status="open")
    assert [d.num for d in only] == [2]


def test_card_is_really_parsed(hub, api, repo, monkeypatch) -> None:
    def upload(text: str) -> None:
        api.upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=repo)

    upload(CARD)
    for bad, why in (
        ("---\ntags: [a\n---\n", "YAML parse error"),
        ("---\n- a\n---\n", "mapping"),
        ("---\ntags: {a: b}\n---\n", "tags"),
        ("---\nlicense: other\n---\n", "license_name"),
        ("---\nmodel-index: 3\n---\n", "model-index"),
    ):
        with pytest.raises(ValueError, match=why):
            upload(bad)
    assert hub.read(repo, "README.md") == CARD.encode()
    with pytest.warns(UserWarning, match="empty or missing yaml"):
        upload("# No metadata\n")


def test_many_uploads_at_once(hub, api, repo) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def upload(number: int) -> None:
        name = f"{number}.bin"
        api.upload_file(path_or_fileobj=WEIGHTS + name.encode(), path_in_repo=name, repo_id=repo)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, range(16)))
    assert len(hub.files(repo)) == 17
    assert len(api.list_repo_commits(repo)) == 17


def test_model_card_object(api, repo, monkeypatch) -> None:
    card = ModelCard(CARD)
    assert card.data.license == "mit"
    api.upload_file(path_or_fileobj=str(card).encode(), path_in_repo="README.md", repo_id=repo)
    assert api.model_info(repo).card_data["license"] == "mit"
