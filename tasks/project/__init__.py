"""This project's nouns: the declaration, the lock, step keys and where things lie."""
