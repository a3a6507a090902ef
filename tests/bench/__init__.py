"""``make bench``: what orchestration costs, measured side by side with the practical limit, in one run on one machine."""
