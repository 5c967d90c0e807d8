"""`python -m meshcore`: the program `meshcore`, for environments whose scripts are not on the PATH."""

from meshcore.cli.program import main

main()
