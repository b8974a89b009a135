"""`python -m feedgen` is the same as `feedgen`."""

from feedgen.cli import main

if __name__ == "__main__":
    main()
