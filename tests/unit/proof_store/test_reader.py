from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from proof_store import dag_pb
from proof_store.base import MemoryBlocks
from proof_store.builder import Built, build_directory, build_file, root_of
from proof_store.cid import DAG_CBOR, DAG_PB, RAW, Cid
from proof_store.dag_pb import PBLink, PBNode
from proof_store.limits import DEEPEST, CarLimits, ReadLimits
from proof_store.reader import is_whole, read_directory, read_file
from proof_store.unixfs import Kind, Layout, NodeData, encode_data
from proof_store.wire import encode_field

SMALL = Layout(chunk_bytes=4, links_per_node=3)
DIRECTORY = encode_data(NodeData(Kind.DIRECTORY))
FILES = {"a": b"12345678901234567890", "b/c": b"x", "b/d/e": b"", "z": b"12345678901234567890"}


class LyingBlocks(MemoryBlocks):
    """A store that gives for each name what it was told to, checking nothing."""

    def __init__(self, answers: dict[Cid, bytes] | None = None) -> None:
        super().__init__()
        self.blocks = answers or {}
        self.asked: list[Cid] = []

    def get(self, cid: Cid) -> bytes:
        self.asked.append(cid)
        return self.blocks[cid]


def put(blocks: MemoryBlocks, block: bytes, codec: int = DAG_PB) -> Cid:
    cid = Cid.of(codec, block)
    blocks.put(cid, block)
    return cid


def directory(blocks: MemoryBlocks, *links: PBLink) -> Cid:
    return put(blocks, dag_pb.encode(PBNode(links, DIRECTORY)))


def link_to(built: Built, name: str = "") -> PBLink:
    return PBLink(built.cid, name, built.tsize)


def refusal(root: Cid, blocks: MemoryBlocks, limits: ReadLimits | None = None) -> OrcaError:
    with pytest.raises(OrcaError) as caught:
        read_directory(root, blocks, limits or ReadLimits())
    return caught.value


def test_a_file_is_not_a_directory_nor_the_other_way_round() -> None:
    blocks = MemoryBlocks()
    for content in (b"", b"12345"):
        assert refusal(build_file(content, blocks, SMALL).cid, blocks).code == "not_a_directory"
    with pytest.raises(InvalidError) as caught:
        read_file(build_directory(FILES, blocks).cid, blocks)
    assert caught.value.code == "not_a_file"


@pytest.mark.parametrize("lost", range(4))
def test_a_block_that_is_not_there_is_unavailable(lost: int) -> None:
    blocks = MemoryBlocks()
    root = build_directory(FILES, blocks, SMALL).cid
    del blocks.blocks[sorted(blocks.blocks, key=str)[lost]]
    error = refusal(root, blocks)
    assert isinstance(error, UnavailableError)
    assert error.code == "block_missing"


def test_the_reader_hashes_what_the_store_gives() -> None:
    honest = MemoryBlocks()
    root = build_directory(FILES, honest, SMALL).cid
    for cid in honest.blocks:
        assert refusal(root, LyingBlocks({**honest.blocks, cid: honest.blocks[cid] + b"!"})).code == "block_corrupt"


def test_a_loop_that_a_store_pretends_is_found() -> None:
    honest = MemoryBlocks()
    inner = directory(honest, PBLink(Cid.of(RAW, b""), "x", 0))
    root = directory(honest, PBLink(inner, "loop", len(honest.blocks[inner])))
    loop = LyingBlocks({root: honest.blocks[root], inner: honest.blocks[root]})
    assert refusal(root, loop).code == "block_corrupt"
    assert loop.asked == [root, inner]


@pytest.mark.parametrize("change", [-1, 1, 10**15])
def test_a_tsize_that_lies_is_a_mismatch(change: int) -> None:
    blocks = MemoryBlocks()
    for built in (build_file(b"1234", blocks, SMALL), build_file(b"12345", blocks, SMALL), build_directory({"x": b"1"}, blocks)):
        root = directory(blocks, PBLink(built.cid, "a", built.tsize + change))
        error = refusal(root, blocks, ReadLimits(total_bytes=10**16))
        assert isinstance(error, InvalidError)
        assert error.code == "size_mismatch"


@pytest.mark.parametrize("sizes", [(4, 2), (3, 2), (5, 1), (0, 5), (2**62, 1)])
def test_blocksizes_that_lie_are_a_mismatch(sizes: tuple[int, int]) -> None:
    blocks = MemoryBlocks()
    parts = [build_file(part, blocks) for part in (b"1234", b"5")]
    root = put(blocks, dag_pb.encode(PBNode(tuple(map(link_to, parts)), encode_data(NodeData(Kind.FILE, sizes)))))
    with pytest.raises(InvalidError) as caught:
        read_file(root, blocks)
    assert caught.value.code == "size_mismatch"


def test_a_filesize_that_lies_two_levels_up_is_a_mismatch() -> None:
    blocks = MemoryBlocks()
    inner = build_file(b"123456", blocks, SMALL)
    root = put(blocks, dag_pb.encode(PBNode((link_to(inner),), encode_data(NodeData(Kind.FILE, (7,))))))
    with pytest.raises(InvalidError) as caught:
        read_file(root, blocks)
    assert caught.value.code == "size_mismatch"


def hostile(blocks: MemoryBlocks) -> dict[str, tuple[Cid, str]]:
    """Trees of sound blocks that no package contains, and the code of each."""
    one, empty = build_file(b"1", blocks), build_directory({}, blocks)
    inner = build_directory({"x": b"1"}, blocks)
    file_of = encode_data(NodeData(Kind.FILE, (1,)))
    symlink = put(blocks, dag_pb.encode(PBNode((), encode_field(1, 4) + encode_field(2, b"/etc/passwd"))))
    hamt = put(blocks, dag_pb.encode(PBNode((), encode_field(1, 5) + encode_field(2, b"\0"))))
    cbor = put(blocks, b"\xa0", DAG_CBOR)
    bare = put(blocks, dag_pb.encode(PBNode((link_to(one, "a"),))))
    named = put(blocks, dag_pb.encode(PBNode((link_to(one, "part"),), file_of)))
    folder_in_file = put(blocks, dag_pb.encode(PBNode((link_to(inner),), file_of)))
    leaf = put(blocks, dag_pb.encode(PBNode((), encode_field(1, 0) + encode_field(2, b"1") + encode_field(3, 1))))
    wide = "".join(f"{number:03x}" for number in range(80))
    oversize = [PBLink(one.cid, f"{number}{wide}", 1) for number in range(950)]
    return {
        "a symlink": (directory(blocks, PBLink(symlink, "a", len(blocks.blocks[symlink]))), "symlink_unsupported"),
        "a sharded directory": (hamt, "hamt_unsupported"),
        "a wrapped leaf": (directory(blocks, PBLink(leaf, "a", len(blocks.blocks[leaf]))), "unixfs_unsupported"),
        "dag-cbor as a root": (cbor, "codec_unsupported"),
        "dag-cbor inside": (directory(blocks, PBLink(cbor, "a", 1)), "codec_unsupported"),
        "no UnixFS data": (bare, "unixfs_malformed"),
        "a part with a name": (directory(blocks, PBLink(named, "a", len(blocks.blocks[named]) + 1)), "unixfs_malformed"),
        "a folder in a file": (
            directory(blocks, PBLink(folder_in_file, "a", len(blocks.blocks[folder_in_file]) + inner.tsize)),
            "unixfs_malformed",
        ),
        "one name twice": (directory(blocks, link_to(one, "a"), link_to(one, "a")), "name_conflict"),
        "a name that climbs": (directory(blocks, link_to(one, "..")), "name_invalid"),
        "a name with a slash": (directory(blocks, link_to(one, "../../etc/passwd")), "name_invalid"),
        "no name": (directory(blocks, link_to(one, "")), "name_invalid"),
        "NUL in a name": (directory(blocks, link_to(one, "a\0b")), "name_invalid"),
        "an empty folder inside": (directory(blocks, link_to(empty, "a")), "directory_empty"),
        "a directory block of 256 KiB": (directory(blocks, *oversize), "directory_oversize"),
        "1001 entries": (directory(blocks, *(link_to(one, f"{number}") for number in range(1001))), "dag_pb_malformed"),
        "no dag-pb": (put(blocks, b"\xff\xff"), "dag_pb_malformed"),
    }


@pytest.mark.parametrize("case", sorted(hostile(MemoryBlocks())))
def test_hostile_trees_are_invalid(case: str) -> None:
    blocks = MemoryBlocks()
    root, code = hostile(blocks)[case]
    error = refusal(root, blocks)
    assert isinstance(error, InvalidError)
    assert error.code == code


def total(blocks: MemoryBlocks) -> int:
    built = build_directory(FILES, blocks, SMALL)
    return built.tsize


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"total_bytes": -1}, "read_bytes"),
        ({"files": 3}, "read_files"),
        ({"depth": 2}, "read_depth"),
        ({"links": 19}, "read_links"),
        ({"block_bytes": 100}, "block_oversize"),
    ],
)
def test_each_limit_stops_the_reading_and_what_fits_exactly_is_read(limits: dict[str, int], code: str) -> None:
    blocks = MemoryBlocks()
    built = build_directory(FILES, blocks, SMALL)
    largest = max(map(len, blocks.blocks.values()))
    enough = ReadLimits(total_bytes=built.tsize, files=4, depth=3, links=20, block_bytes=largest)
    assert read_directory(built.cid, blocks, enough) == FILES
    if "total_bytes" in limits:
        limits = {"total_bytes": built.tsize - 1}
    error = refusal(built.cid, blocks, dataclasses.replace(enough, **limits))
    assert isinstance(error, LimitError)
    assert error.code == code


def test_a_bomb_is_refused_at_the_node_that_announces_it() -> None:
    blocks = MemoryBlocks()
    built = build_file(bytes(1000), blocks)
    for _ in range(8):  # 100 links to the same block, eight times over: 10^19 bytes from nine blocks
        node = PBNode(tuple(link_to(built) for _ in range(100)), encode_data(NodeData(Kind.FILE, (min(built.size, 2**55),) * 100)))
        block = dag_pb.encode(node)
        built = Built(put(blocks, block), min(built.size * 100, 2**55), min(len(block) + built.tsize * 100, 2**55))
    watched = LyingBlocks(blocks.blocks)
    with pytest.raises(LimitError) as caught:
        read_file(built.cid, watched)
    assert caught.value.code == "read_bytes"
    assert len(watched.asked) == 1


def test_links_to_nothing_are_bounded_too() -> None:
    blocks = MemoryBlocks()
    built = build_file(b"", blocks)
    for _ in range(4):
        block = dag_pb.encode(PBNode(tuple(link_to(built) for _ in range(170)), encode_data(NodeData(Kind.FILE, (0,) * 170))))
        built = Built(put(blocks, block), 0, len(block) + built.tsize * 170)
    with pytest.raises(LimitError) as caught:
        read_file(built.cid, blocks, ReadLimits(total_bytes=10**12, links=2000))
    assert caught.value.code == "read_links"


def test_a_tree_that_is_too_deep_is_refused_and_never_overflows_the_stack() -> None:
    blocks = MemoryBlocks()
    built = build_file(b"1", blocks)
    for _ in range(DEEPEST + 5):
        node = PBNode((link_to(built),), encode_data(NodeData(Kind.FILE, (1,))))
        block = dag_pb.encode(node)
        built = Built(put(blocks, block), 1, len(block) + built.tsize)
    with pytest.raises(LimitError) as caught:
        read_file(built.cid, blocks, ReadLimits(depth=DEEPEST))
    assert caught.value.code == "read_depth"


def test_folders_deeper_than_a_name_can_be_are_refused() -> None:
    blocks = MemoryBlocks()
    built = build_file(b"1", blocks)
    for _ in range(33):
        block = dag_pb.encode(PBNode((link_to(built, "d"),), DIRECTORY))
        built = Built(put(blocks, block), 1, len(block) + built.tsize)
    assert refusal(built.cid, blocks).code == "name_invalid"


def test_a_large_file_in_the_deepest_folder_is_read_with_the_default_limits() -> None:
    files, blocks = {"/".join("d" * 32): bytes(range(109))}, MemoryBlocks()
    assert read_directory(build_directory(files, blocks, SMALL).cid, blocks) == files


def test_the_same_files_stacked_in_another_way_read_well_and_have_another_root() -> None:
    blocks = MemoryBlocks()
    other = build_directory(FILES, blocks, Layout(chunk_bytes=5, links_per_node=2)).cid
    assert read_directory(other, blocks) == FILES
    assert root_of(FILES) != other


@given(st.data())
def test_a_changed_tree_is_read_or_refused(data: st.DataObject) -> None:
    """Change a byte of a block and rename everything above it, so that every hash is right and only the content is not."""
    blocks = MemoryBlocks()
    root = build_directory(FILES, blocks, SMALL).cid
    inner = [cid for cid in blocks.blocks if cid.codec == DAG_PB]
    victim = data.draw(st.sampled_from(inner))
    changed = bytearray(blocks.blocks[victim])
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    new_root = _renamed(root, victim, bytes(changed), blocks)
    try:
        files = read_directory(new_root, blocks)
    except OrcaError:
        return
    assert all(isinstance(content, bytes) for content in files.values())


def _renamed(cid: Cid, victim: Cid, changed: bytes, blocks: MemoryBlocks) -> Cid:
    if cid == victim:
        return put(blocks, changed)
    if cid.codec == RAW:
        return cid
    node = dag_pb.decode(blocks.blocks[cid])
    links = tuple(dataclasses.replace(link, cid=_renamed(link.cid, victim, changed, blocks)) for link in node.links)
    return put(blocks, dag_pb.encode(dataclasses.replace(node, links=links)))


@pytest.mark.parametrize("field", ["total_bytes", "files", "depth", "block_bytes", "links"])
def test_a_limit_of_nothing_is_our_mistake(field: str) -> None:
    with pytest.raises(TypeError):
        ReadLimits(**{field: 0})
    with pytest.raises(TypeError):
        ReadLimits(depth=DEEPEST + 1)
    with pytest.raises(TypeError):
        CarLimits(blocks=0)


def test_a_tree_is_whole_when_every_block_of_it_is_here_and_sound() -> None:
    blocks = MemoryBlocks()
    root = build_directory({"a": b"x" * 600_000, "folder/b": b"y"}, blocks).cid
    assert is_whole(root, blocks)
    for cid in list(blocks.blocks):
        without = MemoryBlocks()
        without.blocks = {name: block for name, block in blocks.blocks.items() if name != cid}
        assert not is_whole(root, without), "a part of it is not all of it"
        without.blocks[cid] = b"other bytes"
        assert not is_whole(root, without)
