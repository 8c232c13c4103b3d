"""Deploy files, documents, imports."""
