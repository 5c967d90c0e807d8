"""Load balancing, outlier ejection, budgets and limits. Pure: time and randomness are arguments."""
