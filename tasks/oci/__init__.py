"""The specifications' nouns: frozen values and pure functions, no input or output."""
