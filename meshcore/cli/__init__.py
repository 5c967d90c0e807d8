"""The command line: `commands` reads what was typed, and a file or folder of the same name here does it."""
