"""Key frames on their way to a step: which, in what order, and from which process."""
