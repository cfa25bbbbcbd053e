"""The house's words: every text that people read is linted by textlint, in code as in the documentation."""
