"""One file per command, with its options. A command imports what it needs when it runs, so that `--help` stays fast."""
