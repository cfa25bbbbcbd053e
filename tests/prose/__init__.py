"""The vocabulary: textlint checks every text that people read, in code and in the documentation."""
