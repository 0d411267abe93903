"""Bank conflicts in shared memory of the kernels on tensor cores, from the places that their threads compute."""

from itertools import chain
from types import SimpleNamespace

import pytest

from netspec.gates.bank_conflicts import rounds
from netspec.kernels import register_tiles
from netspec.kernels.warp_tiles import BLOCK_K, bases, line_at, pair_at, pair_bases, reads, sum_places, term_at
from netspec.layers._cuda import fma_block_tile as _fma_tile
from netspec.layers._cuda import mma_block_tile as _mma_tile
from netspec.layers._cuda.fma_block_tile import TILES as FMA_TILES
from netspec.layers._cuda.mma_block_tile import STORED_TILES, TILES, WARPS_N

SIDES = [(order, side, tile) for tile in TILES for order in ("lines", "terms") for side in ("left", "right")]


def size_of(tile, side):
    return tile.rows if side == "left" else tile.columns


def warps_of(tile, side):
    return tile.warps_m if side == "left" else WARPS_N


def test_rounds():
    assert rounds(range(32), 1) == 1
    assert rounds([0] * 32, 1) == 1
    assert rounds([32 * lane for lane in range(32)], 1) == 32
    assert rounds([4 * lane for lane in range(32)], 4) == 4
    assert rounds([32 * lane for lane in range(32)], 4) == 32
    assert rounds([2 * lane for lane in range(32)], 2) == 2
    assert rounds([4 * (lane // 2) for lane in range(32)], 4) == 2
    assert rounds([64 * (lane // 2) for lane in range(32)], 4) == 16


@pytest.mark.parametrize(("order", "side", "tile"), SIDES)
def test_loads_of_fragments(order, side, tile):
    width = size_of(tile, side)
    starts = [bases(order, side, lane, width) for lane in range(32)]
    own, places = reads(order, side, tile.fragments_m if side == "left" else tile.fragments_n, width)
    for base, distance in places:
        assert rounds([start[base] + distance for start in starts], own) == own


@pytest.mark.parametrize(("order", "side", "tile"), SIDES)
def test_copies_to_shared_memory(order, side, tile):
    """16 bytes a thread, as mma_operand_copies deals them out; each place of the stage is written once."""
    width, written = size_of(tile, side), set()
    for warp in range(tile.threads // 32):
        threads = range(32 * warp, 32 * warp + 32)
        for number in range(width * BLOCK_K // 4 // tile.threads):
            places = [place_of_copy(order, thread, number, width, tile.threads) for thread in threads]
            assert rounds(places, 4) == 4
            written.update(places)
    assert written == set(range(0, width * BLOCK_K, 4))


def place_of_copy(order, thread, number, width, threads):
    if order == "lines":
        return line_at(thread // (BLOCK_K // 4) + threads // (BLOCK_K // 4) * number, thread % (BLOCK_K // 4))
    fours = width // 4
    return term_at(thread // fours * (BLOCK_K * fours // threads) + number, thread % fours, width)


@pytest.mark.parametrize("order", ["lines", "terms"])
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_sums_on_their_way_out(tile, order):
    pitch, apart = tile.pitch(order), 1 if order == "lines" else 2
    starts = [lane // 4 * apart * pitch + lane % 4 * 2 for lane in range(32)]
    for offset, _ in sum_places(order, tile.fragments_m, tile.fragments_n, pitch):
        assert rounds([start + offset for start in starts], 2) == 2
    fours = tile.columns // 4
    assert rounds([lane // fours * pitch + lane % fours * 4 for lane in range(32)], 4) == 4
    assert tile.rows // tile.warps_m * pitch <= tile.stages * tile.stage


@pytest.mark.parametrize(("order", "side", "tile"), SIDES)
def test_kernels_compute_these_places(order, side, tile, monkeypatch):
    width, warps = size_of(tile, side), warps_of(tile, side)
    monkeypatch.setattr(_mma_tile, "int32", int)
    monkeypatch.setattr(_mma_tile, "opaque", int)
    for thread in range(32):
        monkeypatch.setattr(_mma_tile, "cuda", SimpleNamespace(threadIdx=SimpleNamespace(x=thread)))
        for warp in range(warps):
            start = 1000 + warp * (width // warps) * (BLOCK_K if order == "lines" else 1)
            expected = tuple(start + place for place in bases(order, side, thread % 32, width))
            assert _mma_tile._make_bases(order, side, width, warps)(1000, warp) == expected


PAIRS = [(side, tile) for tile in STORED_TILES for side in ("left", "right")]


@pytest.mark.parametrize(("side", "tile"), PAIRS)
def test_loads_of_terms_that_are_stored_as_bfloat16(side, tile, monkeypatch):
    """Lines are those of other tiles; of terms each matrix is eight terms of eight lines, and all of them are read."""
    width, warps, found = size_of(tile, side), warps_of(tile, side), set()
    fragments = tile.fragments_m if side == "left" else tile.fragments_n
    own, places = reads("pairs", side, fragments, width)
    for warp in range(warps):
        starts = [pair_bases(side, lane, warp * (width // warps // 8), width) for lane in range(32)]
        for base, distance in places:
            addresses = [start[base] + distance for start in starts]
            assert rounds(addresses, 4) == own == 4
            found.update(addresses)
    assert found == set(range(0, width * BLOCK_K, 4))
    monkeypatch.setattr(_mma_tile, "int32", int)
    monkeypatch.setattr(_mma_tile, "opaque", int)
    for thread in range(32):
        monkeypatch.setattr(_mma_tile, "cuda", SimpleNamespace(threadIdx=SimpleNamespace(x=thread)))
        for warp in range(warps):
            expected = pair_bases(side, thread, warp * (width // warps // 8), width)
            got = _mma_tile._make_bases("pairs", side, width, warps)(1000, warp)
            assert got == tuple(1000 + place for place in expected)


@pytest.mark.parametrize(("side", "tile"), PAIRS)
def test_copies_of_terms_that_are_stored_as_bfloat16(side, tile):
    width, written = size_of(tile, side), set()
    units = width // 8
    each = tile.terms * units // tile.threads
    for warp in range(tile.threads // 32):
        threads = range(32 * warp, 32 * warp + 32)
        for number in range(each):
            places = [pair_at(thread // units * each + number, thread % units, width) for thread in threads]
            assert rounds(places, 4) == 4
            written.update(places)
    assert written == set(range(0, width * BLOCK_K, 4))


def fma_lanes(tile, monkeypatch, warp=0):
    """Places along rows and columns of a warp's threads, as kernels without tensor cores compute them."""
    monkeypatch.setattr(_fma_tile, "int32", int)
    found = []
    for thread in range(32 * warp, 32 * warp + 32):
        monkeypatch.setattr(_fma_tile, "cuda", SimpleNamespace(threadIdx=SimpleNamespace(x=thread)))
        found.append(_fma_tile.make_places(tile)())
    return found


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("order", ["lines", "terms"])
@pytest.mark.parametrize("tile", FMA_TILES, ids=str)
def test_loads_without_tensor_cores(tile, order, side, monkeypatch):
    width = (tile.rows, tile.columns)[side]
    places = [one[side] for one in fma_lanes(tile, monkeypatch)]
    starts = [register_tiles.origin(order, place) for place in places]
    assert starts == [_fma_tile._make_origin(order)(place) for place in places]
    for step in range(BLOCK_K // 4):
        for swizzle, offset, values in register_tiles.loads(order, tile.counts[side], tile.grid[side], width, step):
            assert rounds([(start ^ swizzle) + offset for start in starts], 4) == 2
            term, line = values[0]
            if order == "lines":
                at = line_at(places[0] + tile.grid[side] * line, step)
            else:
                at = term_at(4 * step + term, places[0] + tile.grid[side] * line // 4, width)
            assert (starts[0] ^ swizzle) + offset == at


@pytest.mark.parametrize("tile", FMA_TILES, ids=str)
def test_sums_of_threads_without_tensor_cores(tile, monkeypatch):
    lanes = [fma_lanes(tile, monkeypatch, warp) for warp in range(tile.threads // 32)]
    assert sorted(chain(*lanes)) == [(down, across) for down in range(tile.grid[0]) for across in range(tile.grid[1])]
    for order, apart in (("lines", 1), ("terms", 4)):
        pitch = tile.pitch(order)
        starts = [down * apart * pitch + 4 * across for down, across in lanes[0]]
        for offset in register_tiles.sum_places(order, "terms", tile.counts[1], tile.grid, pitch)[::4]:
            assert rounds([start + offset for start in starts], 4) == 4
        assert tile.rows // tile.parts * pitch <= tile.stages * tile.stage
