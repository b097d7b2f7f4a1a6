"""What comes in over HTTP: connections, who is answered, to whom it goes."""
