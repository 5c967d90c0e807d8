"""`python -m meshcore.cli`: the command line, also where the entry point is not on the path."""

from meshcore.cli.program import main

main()
