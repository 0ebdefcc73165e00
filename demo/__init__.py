"""`make demo`: the whole loop on this machine, through the public command line and API."""
