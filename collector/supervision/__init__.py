"""The life of the process: what it claims, its workers and their policies, what systemd is told."""
