"""How the daemon reports on itself: health, metrics, heartbeat, the HTTP endpoints and the status page."""
