"""S3 by moto, made durable; the objects that jobs read."""
