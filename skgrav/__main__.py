"""Run the command line: ``python -m skgrav``."""

from skgrav.cli import main

raise SystemExit(main())
