"""The ground floor: errors, samples, masks, options, progress and messages."""
