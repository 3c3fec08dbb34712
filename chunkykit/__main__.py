"""`python -m chunkykit` is the command `chunkykit`."""

from chunkykit.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
