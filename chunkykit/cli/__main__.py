"""Run the command line with `python -m chunkykit.cli`."""

from chunkykit.cli.app import main

raise SystemExit(main())
