"""Which architectures are run: the smallest of a family, and one with every class of a module."""

from zooalign.coverage.choose import Profile, block_types, covering, profile_of, smallest

FAMILIES = {"a1": "a", "a2": "a", "a3": "a", "b1": "b"}


def _profile(size: int, blocks: str) -> Profile:
    return Profile(size, frozenset(blocks))


def test_the_smallest_of_each_family() -> None:
    assert smallest({"a1": 3, "a2": 2, "a3": 2, "b1": 9}, FAMILIES) == {"a2", "b1"}


def test_small_ones_until_every_block_is_there() -> None:
    profiles = {
        "a1": _profile(1, "x"),
        "a2": _profile(2, "xy"),
        "a3": _profile(3, "xyz"),
        "b1": _profile(9, "xz"),
    }
    # a2 has y, b1 has z as the only one of its family: a3 has nothing of its own.
    assert covering(profiles, FAMILIES) == {"a1", "a2", "b1"}
    assert covering({n: p for n, p in profiles.items() if n != "b1"}, FAMILIES) == {
        "a1",
        "a2",
        "a3",
    }


def test_blocks_are_classes_of_the_library() -> None:
    import timm

    found = block_types(timm.create_model("test_vit"))
    assert "timm.layers.attention.Attention" in found
    assert not any(name.startswith("torch.") for name in found)
    profile = profile_of("timm:test_vit")
    assert profile.blocks == frozenset(found) and profile.parameters > 1000
