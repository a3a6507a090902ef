"""The database: every statement stands here, as a constant with a sentence, beside the one function that runs it."""
