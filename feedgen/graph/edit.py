"""Changes to edges and posts that exist already, on days of any form: removals, late records, flags.

An edge is removed in place: its word becomes a hole, in both directions. On a sealed day each changed word is first
taken out of its section's checksum and then added again, so the file is consistent without being written anew.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.jit import inline, njit
from feedgen.graph.access import (
    ABOUT,
    AUTHOR,
    AUTHOR_WIDTH,
    BELOW,
    COUNT,
    FAR_KEYS,
    FAR_KEYS_SIZE,
    FIND,
    FIND_BUCKETS,
    FIND_SHIFT,
    FIND_SIZE,
    FLAGS,
    FOLLOWS,
    HEADS,
    HOLE,
    HOLES_WIDTH,
    I64,
    KEY,
    KEYS,
    KIND,
    LANGUAGE,
    LENGTH,
    LIKES,
    LIVE,
    OLD,
    OLD_HOLES,
    OWN,
    OWN_HOLES,
    PACKED,
    PEOPLE_HOLES,
    POSTS,
    SHIFT,
    SIZE,
    SLOT,
    SUMS,
    TICK,
    U8,
    U16,
    U32,
    VALUES,
    WIDTH,
    Arrays,
    Places,
    block_of,
    day_field,
    key_at,
    key_places,
    keyed_length,
    keys_find,
    list_start,
    mix32,
    own_start,
    places_of,
    post_author,
    post_row,
    table_find,
    unmix32,
    value_at,
)
from feedgen.graph.layout import (
    ABOUTS_SECTION,
    AUTHORS_SECTION,
    FAR,
    FAR_KEYS_SECTION,
    FIND_SECTION,
    FLAGS_SECTION,
    FOLLOW_KEYS_SECTION,
    FOLLOWS_SECTION,
    KEYS_SECTION,
    LANGUAGES_SECTION,
    LIKERS_SECTION,
    LIKES_SECTION,
    NO_KEY,
    OLD_HOLES_SECTION,
    OWN_HOLES_SECTION,
    PEOPLE_HOLES_SECTION,
    PEOPLE_KEYS_SECTION,
    TICK_BITS,
    TICKS_SECTION,
    hash_word,
)
from feedgen.graph.words import (
    i64,
    load_bits,
    load_i64,
    load_i64_acquire,
    load_u16,
    load_u32,
    store_i64,
    store_u8,
    store_u16,
    store_u32,
)
from feedgen.ingest.events import DELETED

MAX_COUNT: Final = 0xFFFF


@inline
def _resum(a: Arrays, d: int, section: int, address: int, word: int, before: int) -> None:
    sums = a.days[d, SUMS]
    after = load_i64(address, word)
    store_i64(sums, section, load_i64(sums, section) - hash_word(word, before) + hash_word(word, after))


@inline
def _poke_u8(a: Arrays, d: int, section: int, address: int, index: int, value: int) -> None:
    if a.days[d, SUMS] == 0:
        store_u8(address, index, value)
        return
    before = load_i64(address, index >> 3)
    store_u8(address, index, value)
    _resum(a, d, section, address, index >> 3, before)


@inline
def _poke_u16(a: Arrays, d: int, section: int, address: int, index: int, value: int) -> None:
    if a.days[d, SUMS] == 0:
        store_u16(address, index, value)
        return
    before = load_i64(address, index >> 2)
    store_u16(address, index, value)
    _resum(a, d, section, address, index >> 2, before)


@inline
def _poke_u32(a: Arrays, d: int, section: int, address: int, index: int, value: int) -> None:
    if a.days[d, SUMS] == 0:
        store_u32(address, index, value)
        return
    before = load_i64(address, index >> 1)
    store_u32(address, index, value)
    _resum(a, d, section, address, index >> 1, before)


@inline
def _poke_i64(a: Arrays, d: int, section: int, address: int, index: int, value: int) -> None:
    before = load_i64(address, index)
    store_i64(address, index, value)
    if a.days[d, SUMS] != 0:
        _resum(a, d, section, address, index, before)


@inline
def _poke_bits(a: Arrays, d: int, section: int, address: int, index: int, width: int, value: int) -> None:
    """A number that lies in two words is for an instant half old, half new: a reader may see another of the day's."""
    word, shift, mask = index * width >> 6, index * width & 63, (i64(1) << width) - 1
    before = load_i64(address, word)
    store_i64(address, word, before & ~(mask << shift) | value << shift)
    _resum(a, d, section, address, word, before)
    if shift + width > 64:
        before = load_i64(address, word + 1)
        store_i64(address, word + 1, before & ~(mask >> (64 - shift)) | value >> (64 - shift))
        _resum(a, d, section, address, word + 1, before)


@inline
def _make_hole(a: Arrays, d: int, group: int, section: int, at: int) -> None:
    values = a.days[d, group + VALUES]
    if a.days[d, KIND] == PACKED:
        width = a.days[d, group + WIDTH]
        _poke_bits(a, d, section, values, at, width, (i64(1) << width) - 1)
    else:
        _poke_u32(a, d, section, values, at, HOLE)


@inline
def _one_more_hole(a: Arrays, d: int, field: int, section: int, i: int) -> None:
    if a.days[d, SUMS] != 0:
        width = a.days[d, HOLES_WIDTH]
        holes = load_bits(a.days[d, field], i, width)
        if holes < (i64(1) << width) - 1:
            _poke_bits(a, d, section, a.days[d, field], i, width, holes + 1)


@inline
def add_count(a: Arrays, post: int, change: int) -> None:
    """A post's count stops at its largest value, and stays there."""
    d = post_row(places_of(a), post)
    if d >= 0:
        n = i64(post) & 0xFF_FFFF
        count = load_u16(a.days[d, COUNT], n)
        if count < MAX_COUNT:
            store_u16(a.days[d, COUNT], n, min(max(count + change, 0), MAX_COUNT))


@inline
def add_person_ratings(a: Arrays, person: int, change: int) -> None:
    if person < a.person_ratings.size:
        a.person_ratings[person] = max(i64(a.person_ratings[person]) + change, 0)


@inline
def find_in_block_list(a: Arrays, d: int, group: int, head: int, value: int) -> int:
    """Where in VALUES a live list has a value, newest first, or -1."""
    length = head >> 32
    block = head & 0xFFFF_FFFF
    values = a.days[d, group + VALUES]
    while length > 0:
        _, used = block_of(length)
        for i in range(block + used, block, -1):
            if load_u32(values, i) == value:
                return i
        length -= used
        block = load_u32(values, block)
    return -1


@inline
def _local_of(at: Places, d: int, group: int, value: int) -> int:
    """The number within a packed day that stands for a value of a group; -1: nobody has it."""
    if group == FOLLOWS:
        return value
    if group == OLD:
        return keys_find(at, d, LIKES, mix32(value))
    if value >> 24 == day_field(at, d, SLOT):
        return value & 0xFF_FFFF
    older = keys_find(at, d, OLD, mix32(value))
    return load_i64(day_field(at, d, POSTS), 0) + older if older >= 0 else -1


@inline
def _find_in_range(a: Arrays, d: int, group: int, start: int, end: int, value: int) -> int:
    at, values = places_of(a), a.days[d, group + VALUES]
    last = min(end, a.days[d, group + LENGTH]) - 1
    if a.days[d, KIND] == PACKED:
        wanted, width = _local_of(at, d, group, value), a.days[d, group + WIDTH]
        shift = 0 if group == FOLLOWS else TICK_BITS
        for i in range(last, start - 1, -1):
            if load_bits(values, i, width) >> shift == wanted:
                return i
        return -1
    for i in range(last, start - 1, -1):
        if load_u32(values, i) == value:
            return i
    return -1


@inline
def _edge(a: Arrays, d: int, group: int, key: int, value: int) -> tuple[int, int]:
    """(which list of the group, where in VALUES); -1 for what is not there."""
    if a.days[d, KIND] == LIVE:
        i = table_find(a.days[d, group + KEYS], a.days[d, group + SHIFT], key)
        if i < 0:
            return -1, -1
        return i, find_in_block_list(a, d, group, load_i64_acquire(a.days[d, group + HEADS], i), value)
    i = keys_find(places_of(a), d, group, mix32(key))
    if i < 0:
        return -1, -1
    start, end = list_start(places_of(a), d, group, i), list_start(places_of(a), d, group, i + 1)
    return i, _find_in_range(a, d, group, start, end, value)


@inline
def _own_edge(a: Arrays, d: int, n: int, person: int) -> int:
    """Where in VALUES a person is among the likers of the day's own post, or -1."""
    if n >= load_i64_acquire(a.days[d, POSTS], 0):
        return -1
    if a.days[d, KIND] == LIVE:
        return find_in_block_list(a, d, OLD, load_i64_acquire(a.days[d, OWN], n), person)
    start, end = own_start(places_of(a), d, n), own_start(places_of(a), d, n + 1)
    return _find_in_range(a, d, OLD, start, end, person)


@inline
def _remove_liker(a: Arrays, d: int, post: int, person: int) -> bool:
    if post >> 24 == a.days[d, SLOT]:
        i = post & 0xFF_FFFF
        at = _own_edge(a, d, i, person)
        field, section = OWN_HOLES, OWN_HOLES_SECTION
    else:
        i, at = _edge(a, d, OLD, post, person)
        field, section = OLD_HOLES, OLD_HOLES_SECTION
    if at < 0:
        return False
    _make_hole(a, d, OLD, LIKERS_SECTION, at)
    _one_more_hole(a, d, field, section, i)
    return True


@inline
def _own_length(a: Arrays, d: int, n: int) -> int:
    """How many places one layer has for the likers of a post of its own day."""
    if n >= load_i64_acquire(a.days[d, POSTS], 0):
        return 0
    if a.days[d, KIND] == LIVE:
        return load_i64_acquire(a.days[d, OWN], n) >> 32
    length: int = min(own_start(places_of(a), d, n + 1), a.days[d, OLD + LENGTH]) - own_start(places_of(a), d, n)
    return length


@inline
def _layer_has_rating(a: Arrays, d: int, actor: int, post: int) -> bool:
    """Looked up in the shorter of the edge's two lists."""
    own, n = post >> 24 == a.days[d, SLOT], post & 0xFF_FFFF
    likes = keyed_length(places_of(a), d, LIKES, actor)
    likers = _own_length(a, d, n) if own else keyed_length(places_of(a), d, OLD, post)
    if likes == 0 or likers == 0:
        return False
    if likes < likers:
        _, at = _edge(a, d, LIKES, actor, post)
    elif own:
        at = _own_edge(a, d, n, actor)
    else:
        _, at = _edge(a, d, OLD, post, actor)
    return at >= 0


@inline
def rating_below(a: Arrays, d: int, actor: int, post: int) -> bool:
    """Whether a layer below this one has the edge."""
    layer = i64(a.days[d, BELOW])
    while layer != 0:
        if _layer_has_rating(a, layer, actor, post):
            return True
        layer = i64(a.days[layer, BELOW])
    return False


@inline
def follow_below(a: Arrays, d: int, actor: int, subject: int) -> bool:
    """Whether a layer below this one has the follow."""
    layer = i64(a.days[d, BELOW])
    while layer != 0:
        _, at = _edge(a, layer, FOLLOWS, actor, subject)
        if at >= 0:
            return True
        layer = i64(a.days[layer, BELOW])
    return False


@inline
def _remove_rating_here(a: Arrays, d: int, actor: int, post: int, counted: bool) -> bool:
    """Each direction for itself: after a power cut the file may have one without the other until it is built again, and
    it was counted so.
    """
    i, at = _edge(a, d, LIKES, actor, post)
    removed = _remove_liker(a, d, post, actor)
    if removed and counted:
        add_count(a, post, -1)
    if at >= 0:
        _remove_like(a, d, i, at, actor, counted)
    return removed or at >= 0


@inline
def _remove_like(a: Arrays, d: int, i: int, at: int, actor: int, counted: bool) -> None:
    _make_hole(a, d, LIKES, LIKES_SECTION, at)
    _one_more_hole(a, d, PEOPLE_HOLES, PEOPLE_HOLES_SECTION, i)
    if counted:
        add_person_ratings(a, actor, -1)


@njit
def remove_rating(a: Arrays, d: int, actor: int, post: int, counted: bool) -> bool:
    """Both directions of an edge become holes, in whichever layer it is. `counted` says whether the counts know it."""
    layer = i64(d)
    removed = _remove_rating_here(a, layer, actor, post, counted)
    while not removed and a.days[layer, BELOW] != 0:
        layer = i64(a.days[layer, BELOW])
        removed = _remove_rating_here(a, layer, actor, post, counted)
    return removed


@inline
def _remove_follow_here(a: Arrays, d: int, actor: int, subject: int) -> bool:
    _, at = _edge(a, d, FOLLOWS, actor, subject)
    if at >= 0:
        _make_hole(a, d, FOLLOWS, FOLLOWS_SECTION, at)
    return at >= 0


@njit
def remove_follow(a: Arrays, d: int, actor: int, subject: int) -> bool:
    layer = i64(d)
    removed = _remove_follow_here(a, layer, actor, subject)
    while not removed and a.days[layer, BELOW] != 0:
        layer = i64(a.days[layer, BELOW])
        removed = _remove_follow_here(a, layer, actor, subject)
    return removed


@inline
def list_places(a: Arrays, d: int, group: int, key: int) -> tuple[int, I64]:
    """(which list, every place of it in VALUES)."""
    if a.days[d, KIND] == LIVE:
        i = table_find(a.days[d, group + KEYS], a.days[d, group + SHIFT], key)
        head = load_i64_acquire(a.days[d, group + HEADS], i) if i >= 0 else 0
        length, block = head >> 32, head & 0xFFFF_FFFF
        places = np.empty(length, np.int64)
        n = 0
        while length > 0:
            _, used = block_of(length)
            for at in range(block + used, block, -1):
                places[n] = at
                n += 1
            length -= used
            block = load_u32(a.days[d, group + VALUES], block)
        return i, places
    i = keys_find(places_of(a), d, group, mix32(key))
    if i < 0:
        return -1, np.empty(0, np.int64)
    end = min(list_start(places_of(a), d, group, i + 1), a.days[d, group + LENGTH])
    return i, np.arange(min(list_start(places_of(a), d, group, i), end), end)


@inline
def _forget_key(a: Arrays, d: int, group: int, section: int, i: int) -> None:
    """A sealed group forgets whose list this was: it gets the key of the list before, which searches find first."""
    if i < 0 or a.days[d, SUMS] == 0:
        return
    keys = a.days[d, group + KEYS]
    before = load_u32(keys, i - 1) if i > 0 else 0
    key = load_u32(keys, i)
    while i < a.days[d, group + SIZE] and load_u32(keys, i) == key:
        _poke_u32(a, d, section, keys, i, before)
        i += 1


@inline
def _blank_post(a: Arrays, d: int, n: int) -> None:
    if a.days[d, KIND] == PACKED:
        width, key = a.days[d, AUTHOR_WIDTH], load_u32(a.days[d, KEY], n)
        _poke_bits(a, d, AUTHORS_SECTION, a.days[d, AUTHOR], n, width, (i64(1) << width) - 1)
        if key >= FAR and key & (FAR - 1) < a.days[d, FAR_KEYS_SIZE]:
            _poke_i64(a, d, FAR_KEYS_SECTION, a.days[d, FAR_KEYS], key & (FAR - 1), 0)
        _poke_u32(a, d, KEYS_SECTION, a.days[d, KEY], n, NO_KEY)
    else:
        _poke_u32(a, d, AUTHORS_SECTION, a.days[d, AUTHOR], n, HOLE)
        _poke_i64(a, d, KEYS_SECTION, a.days[d, KEY], n, 0)
    _poke_u16(a, d, TICKS_SECTION, a.days[d, TICK], n, 0)
    _poke_u16(a, d, FLAGS_SECTION, a.days[d, FLAGS], n, DELETED)
    _poke_u8(a, d, LANGUAGES_SECTION, a.days[d, LANGUAGE], n, 0)
    _poke_u32(a, d, ABOUTS_SECTION, a.days[d, ABOUT], n, HOLE)


@inline
def _blank_posts_of(a: Arrays, d: int, person: int) -> int:
    blanked = 0
    if a.days[d, KIND] == LIVE:
        for n in range(load_i64_acquire(a.days[d, POSTS], 0)):
            if load_u32(a.days[d, AUTHOR], n) == person:
                _blank_post(a, d, n)
                blanked += 1
        return blanked
    bucket = mix32(person) >> a.days[d, FIND_SHIFT]
    end = min(load_u32(a.days[d, FIND_BUCKETS], bucket + 1), a.days[d, FIND_SIZE])
    for i in range(load_u32(a.days[d, FIND_BUCKETS], bucket), end):
        n = (load_u32(a.days[d, FIND], i) & 0xFF_FFFF) - 1
        if 0 <= n < load_i64(a.days[d, POSTS], 0) and post_author(places_of(a), d, n) == person:
            _blank_post(a, d, n)
            _poke_u32(a, d, FIND_SECTION, a.days[d, FIND], i, 0)
            blanked += 1
    return blanked


@inline
def _erase_edges_here(a: Arrays, d: int, person: int, counted: bool) -> int:
    i, places = list_places(a, d, LIKES, person)
    changed = 0
    for at in places:
        post = value_at(places_of(a), d, LIKES, at)
        if post == HOLE:
            continue
        if _remove_liker(a, d, post, person) and counted:
            add_count(a, post, -1)
        _remove_like(a, d, i, at, person, counted)
        changed += 1
    _forget_key(a, d, LIKES, PEOPLE_KEYS_SECTION, i)
    i, places = list_places(a, d, FOLLOWS, person)
    for at in places:
        if value_at(places_of(a), d, FOLLOWS, at) != HOLE:
            _make_hole(a, d, FOLLOWS, FOLLOWS_SECTION, at)
            changed += 1
    _forget_key(a, d, FOLLOWS, FOLLOW_KEYS_SECTION, i)
    return changed


@njit
def erase_edges(a: Arrays, d: int, person: int, counted: bool) -> int:
    """What the person rated and followed on that day; the number of words that changed."""
    layer = i64(d)
    changed = _erase_edges_here(a, layer, person, counted)
    while a.days[layer, BELOW] != 0:
        layer = i64(a.days[layer, BELOW])
        changed += _erase_edges_here(a, layer, person, counted)
    return changed


@njit
def erase_posts(a: Arrays, d: int, person: int) -> int:
    """What the person wrote on that day; how many posts there were."""
    return _blank_posts_of(a, d, person)


@njit
def update_posts(a: Arrays, d: int, posts: U32, flags: U16, languages: U8, abouts: U32) -> None:
    """The records of posts of that day arrived: a stub becomes known, or a post is written again."""
    for i in range(posts.size):
        n = i64(posts[i]) & 0xFF_FFFF
        if n < load_i64_acquire(a.days[d, POSTS], 0):
            _poke_u16(a, d, FLAGS_SECTION, a.days[d, FLAGS], n, flags[i])
            _poke_u8(a, d, LANGUAGES_SECTION, a.days[d, LANGUAGE], n, languages[i])
            _poke_u32(a, d, ABOUTS_SECTION, a.days[d, ABOUT], n, abouts[i])


@njit
def mark_posts(a: Arrays, d: int, posts: U32, flags: int, on: bool) -> None:
    """Set or clear some flags of posts of that day."""
    for i in range(posts.size):
        n = i64(posts[i]) & 0xFF_FFFF
        if n < load_i64_acquire(a.days[d, POSTS], 0):
            before = load_u16(a.days[d, FLAGS], n)
            _poke_u16(a, d, FLAGS_SECTION, a.days[d, FLAGS], n, before | flags if on else before & ~flags)


@inline
def _alive(a: Arrays, d: int, group: int, holes_field: int, start: int, end: int, i: int) -> int:
    """How many edges a list that does not grow still has. Only a sealed one knows its holes."""
    end = min(end, a.days[d, group + LENGTH])
    if a.days[d, SUMS] != 0:
        width = a.days[d, HOLES_WIDTH]
        holes = load_bits(a.days[d, holes_field], i, width)
        if holes < (i64(1) << width) - 1:
            return max(end - start - holes, 0)
    alive = 0
    for at in range(start, end):
        alive += value_at(places_of(a), d, group, at) != HOLE
    return alive


@inline
def _count_people_here(a: Arrays, d: int, sign: int) -> int:
    top = 0
    for place in range(key_places(places_of(a), d, LIKES)):
        person = key_at(places_of(a), d, LIKES, place)
        if person < 0:
            continue
        if a.days[d, KIND] == LIVE:
            alive = _alive_places(a, d, LIKES, person)
        else:
            alive = _alive_keyed(a, d, LIKES, PEOPLE_HOLES, place)
        add_person_ratings(a, person, sign * alive)
        top = max(top, person + 1)
    return min(top, a.person_ratings.size)


@njit
def count_people(a: Arrays, d: int, sign: int) -> int:
    """Add a day's ratings to the people's counts, or take them out again. One more than the highest number met."""
    layer = i64(d)
    top = _count_people_here(a, layer, sign)
    while a.days[layer, BELOW] != 0:
        layer = i64(a.days[layer, BELOW])
        top = max(top, _count_people_here(a, layer, sign))
    return top


@inline
def _alive_places(a: Arrays, d: int, group: int, key: int) -> int:
    _, places = list_places(a, d, group, key)
    alive = 0
    for at in places:
        alive += load_u32(a.days[d, group + VALUES], at) != HOLE
    return alive


@inline
def _alive_own(a: Arrays, d: int, n: int) -> int:
    if n >= load_i64(a.days[d, POSTS], 0):
        return 0
    start, end = own_start(places_of(a), d, n), own_start(places_of(a), d, n + 1)
    return _alive(a, d, OLD, OWN_HOLES, start, end, n)


@inline
def _alive_keyed(a: Arrays, d: int, group: int, holes_field: int, i: int) -> int:
    start, end = list_start(places_of(a), d, group, i), list_start(places_of(a), d, group, i + 1)
    return _alive(a, d, group, holes_field, start, end, i)


@njit
def count_day(a: Arrays, d: int) -> int:
    """Add a sealed day's ratings to the counts of posts and people: sums that are in no file. One more than the highest
    person's number met.
    """
    for n in range(load_i64(a.days[d, POSTS], 0)):
        alive = _alive_own(a, d, n)
        if alive:
            add_count(a, a.days[d, SLOT] << 24 | n, alive)
    for i in range(a.days[d, OLD + SIZE]):
        post = unmix32(load_u32(a.days[d, OLD + KEYS], i))
        add_count(a, post, _alive_keyed(a, d, OLD, OLD_HOLES, i))
    return _count_people_here(a, i64(d), 1)


@inline
def _recount_keyed(a: Arrays, d: int, b: Arrays, e: int, group: int, holes_field: int) -> int:
    """Two sorted columns of keys side by side. Keys that rotted and are in no order are still taken once each."""
    i, j, top = i64(0), i64(0), i64(0)
    while i < a.days[d, group + SIZE] or j < b.days[e, group + SIZE]:
        before = load_u32(a.days[d, group + KEYS], i) if i < a.days[d, group + SIZE] else i64(1) << 32
        after = load_u32(b.days[e, group + KEYS], j) if j < b.days[e, group + SIZE] else i64(1) << 32
        hashed, change = min(before, after), i64(0)
        if before == hashed:
            change -= _alive_keyed(a, d, group, holes_field, i)
            i += 1
        if after == hashed:
            change += _alive_keyed(b, e, group, holes_field, j)
            j += 1
        if change == 0:
            continue
        if group == OLD:
            add_count(b, unmix32(hashed), change)
        else:
            add_person_ratings(b, unmix32(hashed), change)
            top = max(top, unmix32(hashed) + 1)
    return top


@njit
def recount_day(a: Arrays, d: int, b: Arrays, e: int) -> int:
    """The sums of row `d` of `a` become those of row `e` of `b`, another file of the same sealed day. Only what differs
    is touched, so nobody sees sums without the day. One more than the highest person's number whose sum changed.
    """
    for n in range(max(load_i64(a.days[d, POSTS], 0), load_i64(b.days[e, POSTS], 0))):
        change = _alive_own(b, e, n) - _alive_own(a, d, n)
        if change:
            add_count(b, b.days[e, SLOT] << 24 | n, change)
    _recount_keyed(a, d, b, e, OLD, OLD_HOLES)
    return min(_recount_keyed(a, d, b, e, LIKES, PEOPLE_HOLES), b.person_ratings.size)


@njit
def has_rating(a: Arrays, d: int, actor: int, post: int) -> bool:
    """Whether either direction of a sealed day has the edge."""
    post = i64(post)
    _, at = _edge(a, d, LIKES, actor, post)
    if at < 0 and post >> 24 == a.days[d, SLOT]:
        at = _own_edge(a, d, post & 0xFF_FFFF, actor)
    elif at < 0:
        _, at = _edge(a, d, OLD, post, actor)
    return at >= 0


@njit
def has_follow(a: Arrays, d: int, actor: int, subject: int) -> bool:
    _, at = _edge(a, d, FOLLOWS, actor, subject)
    return at >= 0


@njit
def has_edges_of(a: Arrays, d: int, person: int) -> bool:
    """Whether a sealed day has lists of this person."""
    at, hashed = places_of(a), mix32(i64(person))
    return keys_find(at, d, LIKES, hashed) >= 0 or keys_find(at, d, FOLLOWS, hashed) >= 0


@njit
def has_posts_of(a: Arrays, d: int, person: int) -> bool:
    """Whether the person wrote anything on a sealed day."""
    bucket = mix32(i64(person)) >> a.days[d, FIND_SHIFT]
    end = min(load_u32(a.days[d, FIND_BUCKETS], bucket + 1), a.days[d, FIND_SIZE])
    for i in range(load_u32(a.days[d, FIND_BUCKETS], bucket), end):
        n = (load_u32(a.days[d, FIND], i) & 0xFF_FFFF) - 1
        if 0 <= n < load_i64(a.days[d, POSTS], 0) and post_author(places_of(a), d, n) == person:
            return True
    return False


@njit
def marks_differ(a: Arrays, d: int, posts: U32, flags: int, on: bool) -> bool:
    """Whether setting (or clearing) these flags would change any of the posts."""
    for post in posts:
        n = i64(post) & 0xFF_FFFF
        if n < load_i64_acquire(a.days[d, POSTS], 0):
            before = load_u16(a.days[d, FLAGS], n)
            if before != (before | flags if on else before & ~flags):
                return True
    return False
