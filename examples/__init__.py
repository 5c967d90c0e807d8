"""Examples. In an installed wheel they are `meshcore.examples`."""
