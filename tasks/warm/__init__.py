"""What lets a start know at once that nothing has changed: records of what was found current, and
copies of what people's files say, each beside the signatures that it holds for."""
