"""`python -m meshcore.cli`: the program `meshcore`, for environments whose scripts are not on the PATH."""

from meshcore.cli.program import main

main()
