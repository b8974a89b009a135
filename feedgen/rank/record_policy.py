"""The policy for records without a number, or whose author nobody numbered. Plain Python: it compiles nothing."""

from __future__ import annotations

from feedgen.rank.policy import Policy


def may_pass(policy: Policy, person: int | None, flags: int, author_flags: int = 0) -> bool:
    """Whether a record with these flags may be shown. `author_flags` are what others say of its author."""
    people = policy.person_flags
    of_author = author_flags | (int(people[person]) if person is not None and person < people.size else 0)
    return not (flags & policy.forbid or of_author & (policy.forbid_people | policy.if_followed))
