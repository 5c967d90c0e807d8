"""Pure machines: which instance is asked, which is ejected, how much is let in. Time and chance are arguments."""
