"""What the daemon says of itself: health, metrics, the HTTP endpoints and the status page."""
