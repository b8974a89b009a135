"""Pages for people: HTML made here, one stylesheet, and a little JavaScript of our own that no page needs."""
