"""`python -m meshcore.cli`: the same as `python -m meshcore`."""

from meshcore.cli.program import main

main()
