"""What every room may use: files, schemas, text, packaged resources."""
