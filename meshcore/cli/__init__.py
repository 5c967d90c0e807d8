"""The command line: `commands` reads what was typed, and a file of the same name here does it."""
