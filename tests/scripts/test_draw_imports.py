from scripts import draw_imports


def test_the_drawing_is_current() -> None:
    assert draw_imports.PATH.read_text() == draw_imports.drawing(), "run: scripts/imports"


def test_parts_are_what_stands_under_the_package() -> None:
    assert draw_imports.part("feedgen.store.day") == "store"
    assert draw_imports.part("feedgen.__main__") == "main"
    assert draw_imports.part("feedgen") == ""
