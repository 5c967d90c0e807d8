"""What both ends of a connection with many calls share: it drives the machine of `wire.stream` over a transport."""
