"""What stands before every route: connections, heads, who asks, what is refused and how."""
