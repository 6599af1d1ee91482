"""PS3.18: resources, query parameters, media types, multipart, problem documents."""
