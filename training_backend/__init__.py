"""The worker that leases runs from the hub, and the process that trains one of them."""
