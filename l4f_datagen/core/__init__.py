"""What everything is said in: errors, a sample, masks, options."""
