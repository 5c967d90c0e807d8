"""Examples: `meshcore.examples` wherever meshcore is installed, and `examples` too in a checkout."""
