"""What the server remembers: documents and logs in SQLite."""
