"""Orders: placed, decided, shipped, watched, cancelled, looked up, and their events published."""
